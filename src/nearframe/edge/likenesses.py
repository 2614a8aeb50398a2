"""The perceptual index of the studies that are kept here: the upstream's, where a rule does not forbid it.

An edge hashes nothing itself. Of a study whose frames it is about to fetch by recipe it asks what
they look like, once for each state, and behind what is waited for: look-alikes of other series are
bases where no digest and no geometry names one. A hash is PHI as the frame is. It goes to nodes
that hold the study, by the right to read all of it, and to nobody who merely passes bytes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

from nearframe import log, tasks
from nearframe.cache.sizedlru import SizedLRU
from nearframe.clock import Clock
from nearframe.edge.upstream import Upstreams
from nearframe.errors import NearframeError, NotFound
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, PerceptualRow, StudyRef
from nearframe.wire.hashes import HashList, decode_hashes
from nearframe.wire.manifest import Manifest

#: The upstream looks at frames after it stored them, or not at all.
ASK_AGAIN_S: Final = 60.0
_STUDIES_KEPT: Final = 10_000
_MODALITY: Final = "00080060"

_log = log.logger(__name__)


class Likenesses:
    """Keeps the catalogue's hashes like the upstream's. For one event loop.

    Parameters
    ----------
    allowed
        Returns whether the index of a study may be here; raises `NotFound`.
    """

    def __init__(
        self,
        upstream: Upstreams,
        catalogue: Catalogue,
        manifests: Manifests,
        workers: Workers,
        clock: Clock,
        allowed: Callable[[StudyRef], Awaitable[bool]],
    ) -> None:
        self._upstream = upstream
        self._catalogue = catalogue
        self._manifests = manifests
        self._workers = workers
        self._clock = clock
        self._allowed = allowed
        #: Which state was asked about, and when to ask about it again.
        self._asked: SizedLRU[StudyRef, tuple[bytes, float]] = SizedLRU(_STUDIES_KEPT)
        self._begun: set[asyncio.Task[None]] = set()

    async def of_patient(self, study: StudyRef) -> list[PerceptualRow]:
        """Return the hashes that are here of a study and the others of its patient."""
        return await self._workers.run(self._catalogue.hashes, study)

    def begin(self, studies: Sequence[StudyRef], came: Callable[[], None]) -> None:
        """Begin to ask about studies; `came` is told if there is news of any."""
        self._begin(self._follow_all(studies, came), "ask for likenesses")

    async def _follow_all(self, studies: Sequence[StudyRef], came: Callable[[], None]) -> None:
        if any([await self.follow(study) for study in studies]):
            came()

    async def follow(self, study: StudyRef) -> bool:
        """Ask what the frames of a study look like, if that is not known; return whether anything came.

        What goes wrong is tried again another time.
        """
        try:
            if not await self._allowed(study):
                return False
            manifest = (await self._manifests.current(study)).manifest
            state, ask_at = self._asked.get(study) or (b"", 0.0)
            if (state == manifest.root and self._clock.monotonic() < ask_at) or not await self._lacks_some(
                study, manifest
            ):
                return False
            self._asked.put(study, (manifest.root, self._clock.monotonic() + ASK_AGAIN_S), 1)
            listed = await self._workers.run(decode_hashes, await self._upstream.current.hashes(study))
            # Of a study that has just changed it is asked again, if another rule does not decide about it now.
            if listed.root != manifest.root or not await self._allowed(study):
                return False
            rows = list(_rows(study, manifest, listed))
            await self._workers.run(self._catalogue.add_hashes, rows)
        except NearframeError as error:
            _log.debug("likenesses_unknown", error=error)
            return False
        return bool(rows)

    # -- what may not be here ----------------------------------------------------------------

    def start(self, tenant: str) -> None:
        """Begin to forget what was taken over before a rule forbade it."""
        self._begin(self._forget_forbidden(tenant), "forget likenesses")

    async def stop(self) -> None:
        """Stop what was begun."""
        await tasks.cancel(self._begun)

    async def _forget_forbidden(self, tenant: str) -> None:
        for study in await self._workers.run(self._catalogue.hashed_studies, tenant):
            await self._forget_if_forbidden(study)

    def changed(self, study: StudyRef) -> None:
        """Say that a study came or changed: another rule may decide about it now."""
        self._begin(self._forget_if_forbidden(study), "forget likenesses")

    def _begin(self, what: Coroutine[Any, Any, None], name: str) -> None:
        task = tasks.spawn(what, name=name)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def _forget_if_forbidden(self, study: StudyRef) -> None:
        try:
            if not await self._allowed(study):
                await self._workers.run(self._catalogue.forget_hashes, study)
        except NotFound:  # gone, and its hashes with it
            return

    async def _lacks_some(self, study: StudyRef, manifest: Manifest) -> bool:
        known = {_key(row) for row in await self.of_patient(study)}
        return any(
            (entry.identity.sop_instance_uid, entry.version) not in known for entry in manifest.entries if entry.frames
        )


def _key(row: PerceptualRow) -> tuple[str, int]:
    return row.identity.sop_instance_uid, row.version


def _rows(study: StudyRef, manifest: Manifest, listed: HashList) -> Iterator[PerceptualRow]:
    """Yield the rows of the instances of which every frame was looked at."""
    at = 0
    for entry in manifest.entries:
        seen = listed.entries[at : at + len(entry.frames)]
        at += len(entry.frames)
        modality = str((entry.metadata.get(_MODALITY, {}).get("Value") or [""])[0])
        if len(seen) < len(entry.frames) or None in seen:
            continue
        for index, ((enc, length), look) in enumerate(zip(entry.frames, seen, strict=True)):
            if look is not None:
                yield PerceptualRow(
                    study=study,
                    identity=entry.identity,
                    version=entry.version,
                    frame_index=index,
                    enc=enc,
                    pix=entry.frames.pix_of(index),
                    hash=look.hash,
                    quality=look.quality,
                    modality=modality,
                    length=length,
                )
