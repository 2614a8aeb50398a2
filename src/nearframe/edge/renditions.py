"""Which renditions the upstream has made by now.

They are made after a study was stored, so no manifest can name them. An edge asks a little
while after a study came or changed, so that whoever opens it need not wait for the answer,
and again when somebody does; as long as some frame lacks one that it could have, and soon
while the upstream is at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from nearframe import log, tasks
from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.clock import Clock
from nearframe.context import Urgency
from nearframe.dicom.targets import wants_rendition
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.edge.upstream import Upstreams
from nearframe.errors import NearframeError, NotFound
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, Rendition, StudyRef
from nearframe.wire.manifest import Manifest
from nearframe.wire.renditions import RenditionList, decode_renditions

ASK_AGAIN_S: Final = 10.0
ASK_SOON_S: Final = 1.0
#: After how long a study is asked about that nobody has opened; each time it lacks some still.
ASK_AHEAD_S: Final = (0.1, 2.0, 10.0, 60.0)
_STUDIES_KEPT: Final = 10_000
_NEVER: Final = float("inf")

_log = log.logger(__name__)


class UpstreamRenditions:
    """Keeps the catalogue's renditions like the upstream's. For one event loop.

    Parameters
    ----------
    outdated
        Told of a study of which renditions became known: what was planned for it is outdated.
    """

    def __init__(
        self,
        upstream: Upstreams,
        catalogue: Catalogue,
        manifests: Manifests,
        workers: Workers,
        clock: Clock,
        outdated: Callable[[StudyRef], None],
    ) -> None:
        self._upstream = upstream
        self._catalogue = catalogue
        self._manifests = manifests
        self._workers = workers
        self._clock = clock
        self._outdated = outdated
        #: When to ask again: never once nothing is lacking.
        self._ask_at: SizedLRU[StudyRef, float] = SizedLRU(_STUDIES_KEPT)
        self._under_way: SingleFlight[StudyRef, None] = SingleFlight("renditions")
        self._being_made: SizedLRU[StudyRef, bool] = SizedLRU(_STUDIES_KEPT)
        #: Studies to be asked about ahead, each with the timer of the next time.
        self._ahead: dict[StudyRef, asyncio.TimerHandle] = {}
        self._due: asyncio.Queue[tuple[StudyRef, int]] = asyncio.Queue()
        self._asking: asyncio.Task[None] | None = None

    # -- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to ask about studies that change."""
        self._asking = tasks.spawn(self._keep_asking(), name="renditions ahead")

    async def stop(self) -> None:
        """Stop asking ahead."""
        if self._asking is not None:
            await tasks.cancel([self._asking])
        for timer in self._ahead.values():
            timer.cancel()
        self._ahead.clear()

    # -- asking ----------------------------------------------------------------------------

    def changed(self, study: StudyRef) -> None:
        """Say that a study was pulled: it may have frames that were not asked about."""
        self._ask_at.discard(study)
        if self._asking is not None and study not in self._ahead and len(self._ahead) < _STUDIES_KEPT:
            self._put_off(study, 0)

    def is_due(self, study: StudyRef) -> bool:
        """Return whether asking may tell something new, or somebody is asking this moment."""
        return study in self._under_way or self._clock.monotonic() >= (self._ask_at.get(study) or 0.0)

    def are_being_made(self, study: StudyRef) -> bool:
        """Return whether the upstream said that more of them will come."""
        return bool(self._being_made.get(study))

    async def refresh(self, study: StudyRef, urgency: Urgency = Urgency.ACTIVE) -> None:
        """Ask the upstream, if anything is lacking, once for all who want to know.

        What goes wrong is tried again when the study is next opened.
        """
        await self._under_way.run(study, partial(self._refresh, study, urgency))

    async def _refresh(self, study: StudyRef, urgency: Urgency) -> None:
        self._ask_at.put(study, self._clock.monotonic() + ASK_AGAIN_S, 1)
        try:
            # A study that is not held is not asked about, whatever paths are tried here.
            if await self._workers.run(self._lacks_some, study):
                await self._ask(study, urgency)
                if await self._workers.run(self._lacks_some, study):
                    return
        except NearframeError as error:
            _log.debug("renditions_unknown", error=error)
        else:
            self._ask_at.put(study, _NEVER, 1)
            self._being_made.discard(study)

    async def _ask(self, study: StudyRef, urgency: Urgency) -> None:
        renditions = await self._workers.run(decode_renditions, await self._upstream.renditions(study, urgency))
        self._being_made.put(study, renditions.making, 1)
        if renditions.making:
            self._ask_at.put(study, self._clock.monotonic() + ASK_SOON_S, 1)
        manifest = (await self._manifests.current(study)).manifest
        if renditions.root != manifest.root:
            return  # the study has just changed; after the pull it is asked about again
        if await self._workers.run(self._add, study, _paired(manifest, renditions)):
            self._outdated(study)

    def _lacks_some(self, study: StudyRef) -> bool:
        """Return whether frames of a study lack renditions that they could have; raises `NotFound`."""
        records = self._catalogue.list_instances(study)
        if not records:
            raise NotFound("study")
        wanted = {
            enc
            for record in records
            if record.pixel is not None and wants_rendition(record.transfer_syntax_uid, record.pixel)
            for enc, _ in record.frames
        }
        return not wanted <= self._catalogue.renditions(study.tenant, list(wanted), HTJ2KLosslessRPCL).keys()

    def _add(self, study: StudyRef, made: list[Rendition]) -> int:
        """Add what is new to the catalogue; return how many."""
        sources = [rendition.source for rendition in made]
        known = self._catalogue.renditions(study.tenant, sources, made[0].transfer_syntax_uid) if made else {}
        news = [rendition for rendition in made if known.get(rendition.source) != rendition]
        self._catalogue.add_renditions(study.tenant, news)
        return len(news)

    # -- asking ahead ----------------------------------------------------------------------

    def _put_off(self, study: StudyRef, times: int) -> None:
        loop = asyncio.get_running_loop()
        self._ahead[study] = loop.call_later(ASK_AHEAD_S[times], self._due.put_nowait, (study, times + 1))

    async def _keep_asking(self) -> None:
        while True:
            study, times = await self._due.get()
            del self._ahead[study]
            if self.is_due(study):
                await self._refresh_quietly(study)
            if self._ask_at.get(study) != _NEVER and study not in self._ahead and times < len(ASK_AHEAD_S):
                self._put_off(study, times)

    async def _refresh_quietly(self, study: StudyRef) -> None:
        try:
            await self.refresh(study, Urgency.ARCHIVE)
        except Exception as error:  # noqa: BLE001 - what is wrong with one study's must not keep others from being asked
            _log.warning("renditions_refused", error=error)


def _paired(manifest: Manifest, renditions: RenditionList) -> list[Rendition]:
    """Return the renditions with the frames they were made from."""
    frames = [enc for entry in manifest.entries for enc, _ in entry.frames]
    return [
        Rendition(
            enc, renditions.transfer_syntax_uid, entry.digest, entry.length, resolution_offsets=entry.resolution_offsets
        )
        for enc, entry in zip(frames, renditions.entries, strict=False)
        if entry is not None
    ]
