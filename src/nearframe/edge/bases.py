"""Which held frames may be the base of one that is lacking: of its study, and of the same patient's others.

Exact evidence comes first; what only looks alike (`edge.likenesses`) comes last, and proposes as the
rest does. What is held is looked up when a study begins to be fetched, and again after a while; what
came by recipe since is counted in. A base that has gone meanwhile costs a refused recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.clock import Clock
from nearframe.delta.apply import make
from nearframe.delta.coded import of_rendition
from nearframe.delta.evidence import BaseIndex, Evidence, KnownFrame, known_frames
from nearframe.delta.frame import FrameForm
from nearframe.edge.likenesses import Likenesses
from nearframe.edge.studyindex import StudyIndex, StudyIndexes
from nearframe.errors import MalformedRequest, NotFound
from nearframe.ids import Digest
from nearframe.perceptual.candidates import PatientIndex
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentStore, PerceptualRow, StudyRef
from nearframe.wire.manifest import Manifest
from nearframe.wire.recipeask import MAX_PROPOSALS, Proposal

#: Studies of one patient that are looked at: as many as are fetched as priors.
MAX_OTHERS: Final = 3
LOOK_AGAIN_S: Final = 10.0
#: Look-alikes that are proposed of a frame: each costs the sender a read and a decode, and most are no base.
MAX_ALIKE: Final = 2
_STUDIES_KEPT: Final = 8


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a frame is held, and as what."""

    study: StudyRef
    index: StudyIndex
    frame: KnownFrame


class Bases:
    """The frames of one study, and the held ones that may be bases of them."""

    def __init__(
        self, frames: dict[Digest, _Place], held: Iterable[_Place], looks: Sequence[PerceptualRow] = ()
    ) -> None:
        self._frames = frames
        self._held: dict[Digest, _Place] = {}
        self._index = BaseIndex()
        for place in held:
            self._add(place)
        self._looks = {row.enc: row for row in looks}
        self._alike = PatientIndex(row for row in looks if row.enc in self._held)

    def came(self, enc: Digest) -> None:
        """Say that a frame of the study is held from now on."""
        if enc in self._frames and enc not in self._held:
            self._add(self._frames[enc])

    def proposals(self, enc: Digest) -> tuple[Proposal, ...]:
        """Return what may be the base of a frame, the strongest evidence first."""
        place = self._frames.get(enc)
        return () if place is None else tuple(self._proposals(place.frame))[:MAX_PROPOSALS]

    def forms(self, proposals: Iterable[Proposal]) -> dict[Digest, FrameForm]:
        """Return what was proposed as the operations want it."""
        return {enc: self._held[enc].frame.form for one in proposals for enc in one.encs}

    def read(self, store: ContentStore, enc: Digest) -> bytes:
        """Return a base: as it is held, or made from its rendition. For a worker thread; raises `NotFound`."""
        place = self._held[enc]
        try:
            return store.read(place.study, enc)
        except NotFound:
            twins = place.index.twins(enc)
            if twins is None or twins.form.pixel is None:
                raise
        rendition = store.read(place.study, twins.rendition.digest)
        return make(of_rendition(rendition, twins.form.pixel), twins.form, ())

    def _proposals(self, frame: KnownFrame) -> Iterator[Proposal]:
        look = self._looks.get(frame.form.enc)
        alike = [] if look is None else self._alike.candidates(look, MAX_ALIKE)
        proposed: set[tuple[Digest, ...]] = set()
        for candidate in self._index.candidates(frame, alike):
            encs = tuple(base.enc for base in candidate.bases)
            studies = {self._held[enc].study.study_instance_uid for enc in encs}
            if len(studies) == 1 and not (candidate.evidence is Evidence.LOOKS_ALIKE and encs in proposed):
                proposed.add(encs)
                yield Proposal(candidate.evidence, studies.pop(), encs)

    def _add(self, place: _Place) -> None:
        self._held[place.frame.form.enc] = place
        self._index.add(place.frame)


class HeldBases:
    """Finds the bases for studies that are being fetched. For one event loop.

    Parameters
    ----------
    others_of
        Returns studies of the same patient, those most alike first.
    likenesses
        What frames look like, as far as that may be here; None leaves it to exact evidence.
    """

    def __init__(
        self,
        store: ContentStore,
        manifests: Manifests,
        indexes: StudyIndexes,
        workers: Workers,
        clock: Clock,
        others_of: Callable[[StudyRef], Sequence[StudyRef]],
        likenesses: Likenesses | None = None,
    ) -> None:
        self._store = store
        self._manifests = manifests
        self._indexes = indexes
        self._workers = workers
        self._clock = clock
        self._others_of = others_of
        self._likenesses = likenesses
        self._kept: SizedLRU[StudyRef, tuple[float, StudyIndex, Bases]] = SizedLRU(_STUDIES_KEPT)
        self._builds: SingleFlight[StudyRef, Bases] = SingleFlight("bases")

    async def of(self, study: StudyRef) -> Bases:
        """Return the frames of a study and their bases.

        Raises
        ------
        NotFound
            If there is no such study.
        """
        kept, index = self._kept.get(study), await self._indexes.of(study)
        if kept is not None and self._clock.monotonic() < kept[0] and kept[1] is index:
            return kept[2]
        return await self._builds.run(study, lambda: self._build(study, index))

    async def _build(self, study: StudyRef, index: StudyIndex) -> Bases:
        frames = await self._places(study, index)
        held = await self._workers.run(_held, self._store, study, frames.values())
        others = self._others_of(study)[:MAX_OTHERS]
        for other in others:
            try:
                places = await self._places(other, await self._indexes.of(other))
            except NotFound:  # gone meanwhile
                continue
            held += await self._workers.run(_held, self._store, other, places.values())
        looks = [] if self._likenesses is None else await self._likenesses.of_patient(study)
        bases = await self._workers.run(Bases, frames, held, looks)
        self._kept.put(study, (self._clock.monotonic() + LOOK_AGAIN_S, index, bases), 1)
        if self._likenesses is not None:  # nobody waits for them: they count once they are here
            self._likenesses.begin([study, *others], partial(self._kept.discard, study))
        return bases

    async def _places(self, study: StudyRef, index: StudyIndex) -> dict[Digest, _Place]:
        manifest = (await self._manifests.current(study)).manifest
        return await self._workers.run(_places, study, index, manifest)


def _places(study: StudyRef, index: StudyIndex, manifest: Manifest) -> dict[Digest, _Place]:
    try:
        frames = (frame for entry in manifest.entries for frame in known_frames(entry))
        return {frame.form.enc: _Place(study, index, frame) for frame in frames if frame.form.pixel is not None}
    except MalformedRequest:  # a manifest of a newer release: no bases from it
        return {}


def _held(store: ContentStore, study: StudyRef, places: Iterable[_Place]) -> list[_Place]:
    forms = {}
    for place in places:
        enc = place.frame.form.enc
        twins = place.index.twins(enc)
        forms[enc] = place, None if twins is None else twins.rendition.digest
    asked = [digest for enc, (_, twin) in forms.items() for digest in (enc, twin) if digest is not None]
    absent = set(store.missing(study, asked))
    return [
        place for enc, (place, twin) in forms.items() if enc not in absent or (twin is not None and twin not in absent)
    ]
