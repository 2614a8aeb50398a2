"""Which renditions the upstream has made by now.

They are made after a study was stored, so no manifest can name them. An edge asks when
somebody opens a study, and again as long as some frame has none: soon while the upstream
is at it, else now and then.
"""

from __future__ import annotations

from collections.abc import Callable

from nearframe import log
from nearframe.cache.sizedlru import SizedLRU
from nearframe.clock import Clock
from nearframe.edge.upstream import Upstream
from nearframe.errors import NearframeError
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, Rendition, StudyRef
from nearframe.wire.manifest import Manifest
from nearframe.wire.renditions import RenditionList, decode_renditions

ASK_AGAIN_S = 10.0
ASK_SOON_S = 1.0
_STUDIES_KEPT = 10_000

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
        upstream: Upstream,
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
        #: When to ask again: never once every frame has one.
        self._ask_at: SizedLRU[StudyRef, float] = SizedLRU(_STUDIES_KEPT)
        self._being_made: SizedLRU[StudyRef, bool] = SizedLRU(_STUDIES_KEPT)

    def changed(self, study: StudyRef) -> None:
        """Say that a study was pulled: it may have frames that were not asked about."""
        self._ask_at.discard(study)

    def is_due(self, study: StudyRef) -> bool:
        """Return whether asking may tell something new."""
        return self._clock.monotonic() >= (self._ask_at.get(study) or 0.0)

    def are_being_made(self, study: StudyRef) -> bool:
        """Return whether the upstream said that more of them will come."""
        return bool(self._being_made.get(study))

    async def refresh(self, study: StudyRef) -> None:
        """Ask the upstream; what goes wrong is tried again when the study is next opened."""
        self._ask_at.put(study, self._clock.monotonic() + ASK_AGAIN_S, 1)
        try:
            # A study that is not held is not asked about, whatever paths are tried here.
            await self._workers.run(self._catalogue.state, study)
            renditions = await self._workers.run(decode_renditions, await self._upstream.renditions(study))
            self._being_made.put(study, renditions.making, 1)
            if renditions.making:
                self._ask_at.put(study, self._clock.monotonic() + ASK_SOON_S, 1)
            manifest = (await self._manifests.current(study)).manifest
            if renditions.root != manifest.root:
                return  # the study has just changed; after the pull there is another call
            made = _paired(manifest, renditions)
            news = await self._workers.run(self._add, study, made)
        except NearframeError as error:
            _log.debug("renditions_unknown", error=error)
            return
        if news:
            self._outdated(study)
        if len(made) == len(renditions.entries):
            self._ask_at.put(study, float("inf"), 1)

    def _add(self, study: StudyRef, made: list[Rendition]) -> int:
        """Add what is new to the catalogue; return how many."""
        sources = [rendition.source for rendition in made]
        known = self._catalogue.renditions(study.tenant, sources, made[0].transfer_syntax_uid) if made else {}
        news = [rendition for rendition in made if known.get(rendition.source) != rendition]
        self._catalogue.add_renditions(study.tenant, news)
        return len(news)


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
