"""Keeping studies of an archive as it shows them: each instance fetched once, whole, and taken apart here.

::

    1. metadata of the study             what the archive shows now; a fingerprint of each instance
    2. fingerprints of what is here      equal: done, nothing moved
    3. files of new and changed ones     byte for byte as stored; split, digested, appended
    4. contents durable                  then one transaction shows the version
    5. instances that are gone           taken out of view

The archive decides what is current: a file that differs is the new current version, whatever
changed in it. A version stays under its number, so that going back and forth adds none.

What is brought in the background waits behind what somebody waits for; who comes to want it
raises it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.context import Urgency
from nearframe.dicom.limits import Limits
from nearframe.dicom.split import split
from nearframe.edge import cachestatus
from nearframe.edge.cachestatus import note_fetch
from nearframe.edge.pacs.archive import Archive
from nearframe.edge.pacs.haste import Haste, HastyFlights
from nearframe.edge.pacs.ledger import Ledger
from nearframe.edge.pacs.shown import Shown, shown_in
from nearframe.errors import MalformedDICOM, NearframeError, NotFound, UpstreamError
from nearframe.ids import Digest
from nearframe.intake.prepare import Arrival, append_contents
from nearframe.intake.spool import Spool, Spooled
from nearframe.metrics import PACS_COMPARED, PACS_INSTANCES, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, ContentStore, StudyRef

K = TypeVar("K", bound=Hashable)

SOURCE = "archive"
#: Retrievals of a study that ask for the line at a time: most archives serve a few well and many badly.
_AT_ONCE = 4

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where instances are kept, and the threads that do it."""

    catalogue: Catalogue
    store: ContentStore
    spool: Spool
    limits: Limits
    workers: Workers
    metrics: Metrics
    clock: Clock


class Mirror:
    """Brings instances here. For one event loop.

    Parameters
    ----------
    changed
        Told of each study that changed here.
    """

    def __init__(self, archive: Archive, ledger: Ledger, keeping: Keeping, changed: Callable[[StudyRef], None]) -> None:
        self._archive = archive
        self._ledger = ledger
        self._keeping = keeping
        self._changed = changed
        self._compared_at_s = {entry.study: min(entry.at_s, self._now_s()) for entry in ledger.compared}
        self._studies: HastyFlights[StudyRef] = HastyFlights("compare study")
        self._instances: HastyFlights[tuple[StudyRef, str]] = HastyFlights("retrieve instance")
        self._begun: set[asyncio.Task[None]] = set()

    def is_whole(self, study: StudyRef) -> bool:
        """Return whether every instance the archive showed of a study is here."""
        return study in self._compared_at_s

    def age_s(self, study: StudyRef) -> float | None:
        """Return how long ago a study was compared with the archive; None if it is not here whole."""
        at_s = self._compared_at_s.get(study)
        return None if at_s is None else max(0.0, self._now_s() - at_s)

    async def holds_some(self, study: StudyRef) -> bool:
        """Return whether any instance of a study is here."""
        return bool(await self._keeping.workers.run(self._ledger.fingerprints, study))

    async def bring_study(self, study: StudyRef, urgency: Urgency = Urgency.ARCHIVE) -> None:
        """Bring a study to what the archive shows now.

        Raises
        ------
        NotFound
            If the archive has no such study; then it is out of view here too.
        UpstreamError
            If it cannot be asked, or some instance cannot be had; the others are here.
        """
        await self._noted(self._studies, study, urgency, lambda haste: self._compare(study, haste))

    async def bring_instance(self, study: StudyRef, series: str, instance: str, urgency: Urgency) -> None:
        """Have an instance here that is asked for before its study is whole.

        Raises
        ------
        NotFound, UpstreamError
        """
        if instance in await self._keeping.workers.run(self._ledger.fingerprints, study):
            return
        await self._noted(
            self._instances, (study, instance), urgency, lambda haste: self._bring_one(study, series, instance, haste)
        )

    async def bring_again(self, study: StudyRef, series: str, instance: str, urgency: Urgency) -> None:
        """Retrieve an instance of which something was lost here.

        Raises
        ------
        NotFound, UpstreamError
        """
        await self._noted(
            self._instances, (study, instance), urgency, lambda haste: self._retrieve(study, series, instance, haste)
        )

    async def _noted(
        self, flights: HastyFlights[K], key: K, urgency: Urgency, bring: Callable[[Haste], Coroutine[Any, Any, None]]
    ) -> None:
        """Bring something, or wait for whoever does, and note for the request's answer that it was not here."""
        clock, is_coming, wanted = self._keeping.clock, key in flights, Haste(urgency)
        began_s = clock.monotonic()
        await flights.run(key, wanted, bring)
        note_fetch(clock.monotonic() - began_s, wanted.queued_s, stored=True, collapsed=is_coming)

    async def stop(self) -> None:
        """Stop what is under way; it is done again when somebody asks."""
        await tasks.cancel(self._begun)

    def begin(self, study: StudyRef, urgency: Urgency = Urgency.ARCHIVE) -> asyncio.Task[None]:
        """Begin to bring a study in the background; what fails is logged, and tried when it is opened again."""
        task = tasks.spawn(self._bring_quietly(study, urgency), name="bring study")
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    async def _bring_quietly(self, study: StudyRef, urgency: Urgency) -> None:
        cachestatus.notes.set(None)  # the request that began it does not wait for it
        try:
            await self.bring_study(study, urgency)
        except NearframeError as error:
            _log.debug("study_not_brought", error=error)

    # -- a study ---------------------------------------------------------------------------

    async def _compare(self, study: StudyRef, haste: Haste) -> None:
        run = self._keeping.workers.run
        try:
            document = await self._archive.metadata(study, haste)
        except NotFound:
            # Only an archive's word counts: a wrong path, or a proxy in its place, knows no study at all.
            await self._archive.probe()
            await self._remove(study)
            raise
        at_s = self._now_s()
        shown = await run(shown_in, document, study.study_instance_uid)
        known = await run(self._known, study)
        wanted = [one for one in shown if known.get(one.instance) != one.fingerprint]
        gone = known.keys() - {one.instance for one in shown}
        self._keeping.metrics.add(PACS_COMPARED, result="changed" if wanted or gone else "same")
        failures = [error for error in await self._bring_all(study, wanted, haste) if error is not None]
        if gone:
            await run(self._keeping.catalogue.replicate, [], [(study, uid) for uid in gone])
            self._changed(study)
        if failures:
            raise failures[0]
        await run(self._ledger.settle, study, {}, gone, at_s)
        self._compared_at_s[study] = at_s

    async def _bring_all(self, study: StudyRef, wanted: Sequence[Shown], haste: Haste) -> list[NearframeError | None]:
        # Of this study: where slots are shared, an urgent study waits for those of one that nobody waits for.
        slots = asyncio.Semaphore(_AT_ONCE)

        async def bring(one: Shown) -> NearframeError | None:
            try:
                # The slot first: thousands of flights would otherwise wait for the line.
                async with slots:
                    await self._instances.run(
                        (study, one.instance), haste, lambda own: self._bring_shown(study, one, own)
                    )
            except NotFound:
                return None  # gone since: the next comparison says so
            except NearframeError as error:
                _log.warning("instance_not_brought", error=error)
                return error
            return None

        return await asyncio.gather(*map(bring, wanted))

    async def _remove(self, study: StudyRef) -> None:
        run = self._keeping.workers.run
        known = await run(self._known, study)
        if known:
            await run(self._keeping.catalogue.replicate, [], [(study, uid) for uid in known])
            await run(self._ledger.forget, study)
            self._changed(study)
        self._compared_at_s.pop(study, None)

    def _known(self, study: StudyRef) -> dict[str, Digest | None]:
        """Return the fingerprints of a study's instances; None for one that is here and that the ledger lost."""
        known: dict[str, Digest | None] = {}
        if study not in self._compared_at_s:
            records = self._keeping.catalogue.list_instances(study)
            known = {record.identity.sop_instance_uid: None for record in records}
        return known | self._ledger.fingerprints(study)

    # -- an instance -----------------------------------------------------------------------

    async def _bring_one(self, study: StudyRef, series: str, instance: str, haste: Haste) -> None:
        # Its fingerprint from before it is retrieved: should it change in between, the next comparison sees it.
        document = await self._archive.metadata(study, haste, series, instance)
        for one in await self._keeping.workers.run(shown_in, document, study.study_instance_uid):
            if one.instance == instance:
                await self._bring_shown(study, one, haste)
                return
        raise NotFound("instance")

    async def _bring_shown(self, study: StudyRef, one: Shown, haste: Haste) -> None:
        await self._retrieve(study, one.series, one.instance, haste)
        await self._keeping.workers.run(self._ledger.add, study, one.instance, one.fingerprint)

    async def _retrieve(self, study: StudyRef, series: str, instance: str, haste: Haste) -> None:
        async with self._archive.instance(study, series, instance, haste) as body:
            spooled = await self._keeping.spool.receive(body)
        try:
            await self._keeping.workers.run(self._keep, study, instance, spooled)
        finally:
            spooled.close()
        self._keeping.metrics.add(PACS_INSTANCES)
        self._changed(study)

    def _keep(self, study: StudyRef, uid: str, spooled: Spooled) -> None:
        keeping = self._keeping
        try:
            instance = split(spooled, keeping.limits)
        except MalformedDICOM as error:
            raise UpstreamError("the archive sent an instance that is not whole") from error
        identity = instance.identity
        if (identity.study_instance_uid, identity.sop_instance_uid) != (study.study_instance_uid, uid):
            raise UpstreamError("the archive sent another instance than was asked for")
        mark = keeping.store.mark()
        version = append_contents(keeping.store, spooled, instance, Arrival(study.tenant, SOURCE, keeping.clock.now()))
        keeping.store.sync(mark)
        keeping.catalogue.replicate([(version, self._number(study, uid, version.file), True)], [])

    def _number(self, study: StudyRef, uid: str, file: Digest) -> int:
        held = self._keeping.catalogue.list_versions(study.tenant, uid)
        known = next((one.version for one in held if one.file == file), None)
        return known or max((one.version for one in held), default=0) + 1

    def _now_s(self) -> float:
        return self._keeping.clock.now().timestamp()
