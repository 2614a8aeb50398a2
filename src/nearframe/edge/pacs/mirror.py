"""Keeping studies of an archive as it shows them: each instance fetched once, whole, and taken apart here.

::

    1. what the archive shows now        a fingerprint of each instance
    2. fingerprints of what is here      equal: done, nothing moved
    3. files of new and changed ones     byte for byte as stored; split, digested, appended
    4. contents durable                  then one transaction shows the version
    5. instances that are gone           taken out of view

The archive decides what is current: a file that differs is the new current version, whatever
changed in it. A version stays under its number, so that going back and forth adds none. Where
an archive shows too little of its instances to tell, what is here already is taken for its own.

What is brought in the background waits behind what somebody waits for; who comes to want it
raises it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.context import Urgency
from nearframe.dicom.limits import Limits
from nearframe.dicom.split import split
from nearframe.edge import cachestatus
from nearframe.edge.cachestatus import note_fetch
from nearframe.edge.pacs.haste import Haste, HastyFlights
from nearframe.edge.pacs.ledger import Ledger
from nearframe.edge.pacs.ports import Archive
from nearframe.edge.pacs.shown import Shown
from nearframe.errors import (
    LimitExceeded,
    MalformedDICOM,
    MismatchedIdentifier,
    MissingIdentifier,
    NearframeError,
    NotFound,
    UpstreamError,
)
from nearframe.ids import Digest, Identity
from nearframe.intake.ingest import Expected
from nearframe.intake.prepare import Arrival, append_contents
from nearframe.intake.spool import Spool, Spooled
from nearframe.metrics import PACS_COMPARED, PACS_INSTANCES, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import Buffer, Catalogue, ContentStore, StudyRef

K = TypeVar("K", bound=Hashable)

SOURCE = "archive"

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
        self._series: HastyFlights[tuple[StudyRef, str]] = HastyFlights("compare series")
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
        """Return whether any instance of a study is here, of the archive's or taken in."""
        run = self._keeping.workers.run
        return bool(await run(self._ledger.fingerprints, study)) or await run(
            self._keeping.catalogue.holds_local, study
        )

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

    async def bring_series(self, study: StudyRef, series: str, urgency: Urgency) -> None:
        """Have a series here that is asked for before its study is whole; raises as `bring_study`."""
        await self._noted(
            self._series, (study, series), urgency, lambda haste: self._bring_series(study, series, haste)
        )

    async def bring_instance(self, study: StudyRef, series: str, instance: str, urgency: Urgency) -> None:
        """Have an instance here that is asked for before its study is whole.

        Raises
        ------
        NotFound, UpstreamError
        """
        if await self._keeping.workers.run(self._is_here, study, instance):
            return
        await self._noted(
            self._instances, (study, instance), urgency, lambda haste: self._bring_one(study, series, instance, haste)
        )

    async def bring_again(self, study: StudyRef, lost: Identity, urgency: Urgency) -> None:
        """Retrieve an instance of which something was lost here.

        Raises
        ------
        NotFound, UpstreamError
        """
        series, instance, sop_class = lost.series_instance_uid, lost.sop_instance_uid, lost.sop_class_uid
        await self._noted(
            self._instances,
            (study, instance),
            urgency,
            lambda haste: self._retrieve(study, series, instance, haste, sop_class),
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
        at_s = self._now_s()
        try:
            shown = await self._archive.shown(study, haste)
        except NotFound:
            # Only an archive's word counts: a wrong path, or a proxy in its place, knows no study at all.
            await self._archive.probe()
            await self._remove(study)
            raise
        known = await run(self._known, study)
        wanted = await self._not_here(study, shown, known)
        gone = await run(self._theirs, study) - {one.instance for one in shown}
        self._keeping.metrics.add(PACS_COMPARED, result="changed" if wanted or gone else "same")
        failures = await self._bring_all(study, wanted, haste)
        if gone:
            await run(self._keeping.catalogue.replicate, [], [(study, uid) for uid in gone])
            self._changed(study)
        if failures:
            raise failures[0]
        await run(self._ledger.settle, study, {}, gone, at_s)
        self._compared_at_s[study] = at_s

    async def _bring_series(self, study: StudyRef, series: str, haste: Haste) -> None:
        shown = await self._archive.shown(study, haste, series)
        known = await self._keeping.workers.run(self._known, study)
        if failures := await self._bring_all(study, await self._not_here(study, shown, known), haste):
            raise failures[0]

    async def _not_here(
        self, study: StudyRef, shown: Sequence[Shown], known: Mapping[str, Digest | None]
    ) -> list[Shown]:
        """Return what is to be retrieved; what may be taken for the archive's as it is here, is from now on."""
        wanted = [one for one in shown if known.get(one.instance) != one.fingerprint]
        if self._archive.shows_contents:
            return wanted
        ours = [one for one in wanted if one.instance in known and known[one.instance] is None]
        if ours:
            await self._keeping.workers.run(self._hand_over, study, ours)
        return [one for one in wanted if one not in ours]

    def _hand_over(self, study: StudyRef, shown: Sequence[Shown]) -> None:
        catalogue, seen = self._keeping.catalogue, {one.instance: one.fingerprint for one in shown}
        if catalogue.holds_local(study):
            records = [one for one in catalogue.list_instances(study) if one.identity.sop_instance_uid in seen]
            numbers = {(one.identity.sop_instance_uid, one.file): one.version for one in records}
            catalogue.replicate([], [], {study.tenant: numbers})
        self._ledger.add(study, seen)

    async def _bring_all(self, study: StudyRef, wanted: Sequence[Shown], haste: Haste) -> list[NearframeError]:
        # Of this study: where slots are shared, an urgent study waits for those of one that nobody waits for.
        slots = asyncio.Semaphore(self._archive.at_once)

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

        return [error for error in await asyncio.gather(*map(bring, wanted)) if error is not None]

    async def _remove(self, study: StudyRef) -> None:
        run = self._keeping.workers.run
        theirs = await run(self._theirs, study)
        if theirs:
            await run(self._keeping.catalogue.replicate, [], [(study, uid) for uid in theirs])
            await run(self._ledger.forget, study)
            self._changed(study)
        self._compared_at_s.pop(study, None)

    def _known(self, study: StudyRef) -> dict[str, Digest | None]:
        """Return the fingerprints of a study's instances; None for one that is here and not in the ledger."""
        known: dict[str, Digest | None] = {}
        if study not in self._compared_at_s or not self._archive.shows_contents:
            records = self._keeping.catalogue.list_instances(study)
            known = {record.identity.sop_instance_uid: None for record in records}
        return known | self._ledger.fingerprints(study)

    def _is_here(self, study: StudyRef, instance: str) -> bool:
        if instance in self._ledger.fingerprints(study):
            return True
        if self._archive.shows_contents:
            return False
        try:
            uid = study.study_instance_uid
            self._keeping.catalogue.find_instance(study.tenant, instance, study_instance_uid=uid)
        except NotFound:
            return False
        return True

    def _theirs(self, study: StudyRef) -> set[str]:
        """Return the instances here that the archive had when it was last asked: not what waits to be sent to it."""
        theirs = set(self._ledger.fingerprints(study))
        if study not in self._compared_at_s:
            replica = self._keeping.catalogue.replica(study)
            records = self._keeping.catalogue.list_instances(study) if replica is None else [one for one, _ in replica]
            theirs.update(record.identity.sop_instance_uid for record in records)
        return theirs

    # -- an instance -----------------------------------------------------------------------

    async def _bring_one(self, study: StudyRef, series: str, instance: str, haste: Haste) -> None:
        # Its fingerprint from before it is retrieved: should it change in between, the next comparison sees it.
        for one in await self._archive.shown(study, haste, series, instance):
            if one.instance == instance:
                await self._bring_shown(study, one, haste)
                return
        raise NotFound("instance")

    async def _bring_shown(self, study: StudyRef, one: Shown, haste: Haste) -> None:
        await self._retrieve(study, one.series, one.instance, haste, one.sop_class)
        await self._keeping.workers.run(self._ledger.add, study, {one.instance: one.fingerprint})

    async def _retrieve(self, study: StudyRef, series: str, instance: str, haste: Haste, sop_class: str) -> None:
        expected = Expected(study=study.study_instance_uid, instance=instance)
        async with self._archive.instance(study, series, instance, haste, sop_class) as body:
            try:
                await self._receive(study.tenant, expected, body)
            except (MalformedDICOM, MissingIdentifier) as error:
                raise UpstreamError("the archive sent an instance that is not whole") from error
            except LimitExceeded as error:
                raise UpstreamError(f"the archive sent an instance that is not kept: {error}") from error
            except MismatchedIdentifier as error:
                raise UpstreamError("the archive sent another instance than was asked for") from error

    async def take(self, tenant: str, instance: str, body: AsyncIterator[Buffer]) -> None:
        """Keep a file that the archive sends of itself.

        Raises
        ------
        RequestError
            If it is no object that can be kept, or another one.
        """
        await self._receive(tenant, Expected(instance=instance), body)

    async def _receive(self, tenant: str, expected: Expected, body: AsyncIterator[Buffer]) -> None:
        spooled = await self._keeping.spool.receive(body)
        try:
            study = await self._keeping.workers.run(self._keep, tenant, expected, spooled)
        finally:
            spooled.close()
        self._keeping.metrics.add(PACS_INSTANCES)
        self._changed(study)

    def _keep(self, tenant: str, expected: Expected, spooled: Spooled) -> StudyRef:
        keeping = self._keeping
        instance = split(spooled, keeping.limits)
        expected.check_identity(instance.identity)
        mark = keeping.store.mark()
        version = append_contents(keeping.store, spooled, instance, Arrival(tenant, SOURCE, keeping.clock.now()))
        keeping.store.sync(mark)
        uid = instance.identity.sop_instance_uid
        keeping.catalogue.replicate([(version, self._number(tenant, uid, version.file), True)], [])
        return version.study

    def _number(self, tenant: str, uid: str, file: Digest) -> int:
        held = self._keeping.catalogue.list_versions(tenant, uid)
        known = next((one.version for one in held if one.file == file), None)
        return known or max((one.version for one in held), default=0) + 1

    def _now_s(self) -> float:
        return self._keeping.clock.now().timestamp()
