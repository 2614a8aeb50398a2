"""Which frames may be the base of another: found by exact evidence first, by likeness last.

The receiver says what it holds; the index is built from that, of one patient's frames
within what both sides may see. What is found here only proposes; digests decide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from nearframe.delta.frame import FrameForm
from nearframe.delta.traits import Traits, traits_of
from nearframe.dicom.model import DICOMJSON, PixelDescription
from nearframe.errors import MalformedRequest
from nearframe.ids import Digest, Identity
from nearframe.perceptual import candidates as perceptual
from nearframe.wire.framerecipe import MAX_BASES
from nearframe.wire.manifest import InstanceEntry

#: Modalities whose native cine was measured to gain from the frame before: XA and NM lose.
_CINE_MODALITIES: Final = frozenset({"US"})
#: Modalities whose repeated slices were measured to gain from earlier ones: functional MR.
_TIME_SERIES_MODALITIES: Final = frozenset({"MR"})
#: The mean of three has little more noise than the mean of all.
_EARLIER_FRAMES: Final = 3
#: A thin slice has at most this share of the thick one's thickness.
_THIN: Final = 0.6
#: Of one place or one source there may be dozens; each costs a read.
_MAX_PER_KIND: Final = 3


class Evidence(IntEnum):
    """Why a frame is proposed as a base, the strongest first."""

    SAME_BYTES = 1
    SAME_PIXELS = 2
    EARLIER_VERSION = 3
    SOURCE = 4
    SAME_PLACE = 5
    THIN_SLICES = 6
    PREVIOUS_FRAMES = 7
    LOOKS_ALIKE = 8


@dataclass(frozen=True, slots=True)
class KnownFrame:
    """A frame with what its manifest says.

    Attributes
    ----------
    depth
        Recipes that have to be followed until the receiver has it; zero once it is held.
    """

    form: FrameForm
    pix: Digest | None
    identity: Identity
    frame_index: int
    metadata: DICOMJSON
    version: int = 1
    depth: int = 0

    @property
    def traits(self) -> Traits:
        return traits_of(self.metadata, self.form.pixel, self.frame_index)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Bases for a frame, in the order the operations want them: the nearest in time, or along the stack.

    Attributes
    ----------
    depth
        The largest of its bases.
    """

    evidence: Evidence
    bases: tuple[FrameForm, ...]
    depth: int = 0


def known_frames(entry: InstanceEntry, depth: int = 0) -> Iterator[KnownFrame]:
    """Yield the frames of an instance in a manifest.

    Raises
    ------
    MalformedRequest
        If the manifest describes pixels as this release does not know.
    """
    try:
        pixel = None if entry.pixel is None else PixelDescription(**entry.pixel)
    except TypeError as error:
        raise MalformedRequest("a manifest describes pixels as this release does not know") from error
    for index, (enc, length) in enumerate(entry.frames):
        form = FrameForm(enc, length, entry.transfer_syntax_uid, pixel)
        pix = entry.frames.pix_of(index)
        yield KnownFrame(form, pix, entry.identity, index, entry.metadata, entry.version, depth)


class BaseIndex:
    """The frames a receiver holds, ready to be asked for bases.

    Parameters
    ----------
    held
        Frames of one patient, of one tenant, that the receiver said that it holds.
    """

    def __init__(self, held: Iterable[KnownFrame] = ()) -> None:
        self._by_enc: dict[Digest, KnownFrame] = {}
        self._by_pix: dict[Digest, KnownFrame] = {}
        self._by_instance: dict[str, list[KnownFrame]] = defaultdict(list)
        self._by_place: dict[Hashable, list[KnownFrame]] = defaultdict(list)
        self._by_stack: dict[Hashable, list[tuple[KnownFrame, Traits]]] = defaultdict(list)
        self._by_series_place: dict[Hashable, list[tuple[KnownFrame, Traits]]] = defaultdict(list)
        for frame in held:
            self.add(frame)

    def add(self, frame: KnownFrame) -> None:
        """Take in a frame: the receiver holds it from now on, or will when its recipe is followed."""
        traits = frame.traits
        self._by_enc.setdefault(frame.form.enc, frame)
        if frame.pix is not None:
            self._by_pix.setdefault(frame.pix, frame)
        self._by_instance[frame.identity.sop_instance_uid].append(frame)
        if traits.place is not None:
            self._by_place[traits.place].append(frame)
            self._by_series_place[_series_place(frame, traits)].append((frame, traits))
        if traits.stack is not None and traits.modality == "CT":
            self._by_stack[(frame.identity.study_instance_uid, traits.stack)].append((frame, traits))

    def candidates(self, frame: KnownFrame, look_alikes: Iterable[perceptual.Candidate] = ()) -> tuple[Candidate, ...]:
        """Return what may be the base of `frame`, the strongest evidence first.

        Parameters
        ----------
        look_alikes
            What the patient's perceptual index says of it; asked last.
        """
        same = self._by_enc.get(frame.form.enc)
        if same is not None:
            return (_single(Evidence.SAME_BYTES, same),)
        return tuple(self._proposals(frame, frame.traits, look_alikes))

    def _proposals(
        self, frame: KnownFrame, traits: Traits, look_alikes: Iterable[perceptual.Candidate]
    ) -> Iterator[Candidate]:
        same = None if frame.pix is None else self._by_pix.get(frame.pix)
        if same is not None:
            yield _single(Evidence.SAME_PIXELS, same)
        for one in self._earlier_versions(frame):
            yield _single(Evidence.EARLIER_VERSION, one)
        for one in self._sources(traits):
            yield _single(Evidence.SOURCE, one)
        elsewhere = (one for one in self._by_place.get(traits.place, ()) if not _is_one_series(one, frame))
        for one in list(elsewhere)[:_MAX_PER_KIND]:
            yield _single(Evidence.SAME_PLACE, one)
        yield from _several(Evidence.THIN_SLICES, self._thin_slices(frame, traits), at_least=2)
        yield from _several(Evidence.PREVIOUS_FRAMES, self._earlier_moments(frame, traits))
        yield from _several(Evidence.PREVIOUS_FRAMES, self._previous_in_cine(frame, traits))
        for likeness in look_alikes:
            alike = self._by_enc.get(likeness.other.enc)
            if alike is not None:
                yield _single(Evidence.LOOKS_ALIKE, alike)

    def _earlier_versions(self, frame: KnownFrame) -> list[KnownFrame]:
        versions = self._by_instance.get(frame.identity.sop_instance_uid, ())
        others = [one for one in versions if one.frame_index == frame.frame_index and one.version != frame.version]
        return sorted(others, key=lambda one: -one.version)[:1]

    def _sources(self, traits: Traits) -> list[KnownFrame]:
        found = [
            one
            for uid, index in traits.sources[:_MAX_PER_KIND]
            for one in self._by_instance.get(uid, ())
            if index is None or one.frame_index == index
        ]
        return found[:_MAX_PER_KIND]

    def _thin_slices(self, frame: KnownFrame, traits: Traits) -> list[KnownFrame]:
        """Return the thin slices of the same acquisition and kernel that lie within a thick one."""
        if traits.modality != "CT" or traits.stack is None or not traits.thickness_mm:
            return []
        stack = self._by_stack.get((frame.identity.study_instance_uid, traits.stack), ())
        inside = [
            (abs(other.height_mm - traits.height_mm), other.height_mm, one)
            for one, other in stack
            if other.thickness_mm
            and other.thickness_mm <= _THIN * traits.thickness_mm
            and abs(other.height_mm - traits.height_mm) <= traits.thickness_mm / 2 + other.thickness_mm
        ]
        nearest = sorted(inside, key=lambda item: item[:2])[:MAX_BASES]
        return [one for _, _, one in sorted(nearest, key=lambda item: item[1])]

    def _earlier_moments(self, frame: KnownFrame, traits: Traits) -> list[KnownFrame]:
        """Return the same slice at earlier moments of its series, the latest first."""
        if traits.modality not in _TIME_SERIES_MODALITIES or traits.is_diffusion or traits.place is None:
            return []
        earlier = [
            (other.moment, one)
            for one, other in self._by_series_place.get(_series_place(frame, traits), ())
            if other.moment[:2] < traits.moment[:2]
        ]
        return [one for _, one in sorted(earlier, key=lambda item: item[0], reverse=True)[:_EARLIER_FRAMES]]

    def _previous_in_cine(self, frame: KnownFrame, traits: Traits) -> list[KnownFrame]:
        if traits.modality not in _CINE_MODALITIES or frame.frame_index == 0 or not frame.form.is_native:
            return []
        return [
            one
            for one in self._by_instance.get(frame.identity.sop_instance_uid, ())
            if one.frame_index == frame.frame_index - 1 and one.version == frame.version
        ]


def _series_place(frame: KnownFrame, traits: Traits) -> Hashable:
    return frame.identity.series_instance_uid, traits.place, traits.sequence


def _is_one_series(one: KnownFrame, other: KnownFrame) -> bool:
    return one.identity.series_instance_uid == other.identity.series_instance_uid


def _single(evidence: Evidence, base: KnownFrame) -> Candidate:
    return Candidate(evidence, (base.form,), base.depth)


def _several(evidence: Evidence, bases: list[KnownFrame], at_least: int = 1) -> Iterator[Candidate]:
    if len(bases) >= at_least:
        yield Candidate(evidence, tuple(base.form for base in bases), max(base.depth for base in bases))
