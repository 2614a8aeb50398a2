"""Frames of one patient that look alike: proposals, each with what its digests prove.

Callers pass the frames of one patient and one tenant and nobody else's: a hash is PHI,
and asking across patients would answer "is there someone who looks like this?".

Neighbours in a stack look alike by nature (a 1 mm CT slice is 6-12 bits from the next), so
frames are only ever compared with other series.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from nearframe.perceptual.hashedframe import HashedFrame, Sameness, sameness
from nearframe.perceptual.phash import HASH_BYTES

#: Bits of 256. Copies that were re-encoded, re-windowed or noisier; see docs/reference/perceptual.md.
SAME_PICTURE_DISTANCE = 20
#: Derived pictures, small shifts, text burned in. No two patients came nearer than 88.
RELATED_VIEW_DISTANCE = 31
#: Below this there is too little to see for a hash to mean anything.
MIN_QUALITY = 10
DEFAULT_PER_FRAME = 5

_WORDS = HASH_BYTES // 8
_Hashes = npt.NDArray[np.uint64]
_Distances = npt.NDArray[np.uint64]


class Relation(Enum):
    """What a candidate may be to a frame. None of them says that it is the same."""

    SAME_PICTURE = "same picture"
    RELATED_VIEW = "related view"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that looks like another.

    Attributes
    ----------
    distance
        Bits of 256 in which the hashes differ.
    sameness
        What the digests prove about the pair; `relation` and `distance` have no part in it.
    """

    frame: HashedFrame
    other: HashedFrame
    relation: Relation
    distance: int
    sameness: Sameness


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier or later study of the patient, by the same modality, to compare with.

    That it is a prior is known from its metadata. The hash only picks the frames to open
    with, and `views_match` says whether it may: scanners and fields of view differ, and
    then the nearest frame is no nearer than a stranger's.

    Attributes
    ----------
    frames
        Number of frames of that study and modality.
    nearest
        The pair of frames, one of each study, that look most alike.
    distance
        Of that pair.
    """

    study_instance_uid: str
    modality: str
    frames: int
    nearest: tuple[HashedFrame, HashedFrame]
    distance: int

    @property
    def views_match(self) -> bool:
        return self.distance <= RELATED_VIEW_DISTANCE


class PatientIndex:
    """The hashes of one patient, ready to be searched.

    A linear search: 1e5 frames take about 3 ms a query, and no patient has more.

    Parameters
    ----------
    frames
        Of one patient within one tenant.
    """

    def __init__(self, frames: Iterable[HashedFrame]) -> None:
        self.frames = [frame for frame in frames if is_indexable(frame)]
        self._hashes = hash_matrix(self.frames)
        self._series = np.array([frame.identity.series_instance_uid for frame in self.frames], object)

    def candidates(self, frame: HashedFrame, limit: int = DEFAULT_PER_FRAME) -> list[Candidate]:
        """Return frames of other series that look like `frame`, the nearest first."""
        if not self.frames or not is_indexable(frame):
            return []
        distances = hamming(self._hashes, hash_matrix([frame])[0])
        elsewhere = self._series != frame.identity.series_instance_uid
        near = np.flatnonzero((distances <= RELATED_VIEW_DISTANCE) & elsewhere)
        nearest = near[np.argsort(distances[near], kind="stable")][:limit]
        return [_candidate(frame, self.frames[index], int(distances[index])) for index in nearest]

    def priors(self, study_instance_uid: str) -> list[Prior]:
        """Return the other studies by modalities of this one, those whose views match first."""
        own: dict[str, list[int]] = {}
        others: dict[tuple[str, str], list[int]] = {}
        for index, frame in enumerate(self.frames):
            if frame.identity.study_instance_uid == study_instance_uid:
                own.setdefault(frame.modality, []).append(index)
            else:
                others.setdefault((frame.identity.study_instance_uid, frame.modality), []).append(index)
        found = [
            self._prior(study, modality, own[modality], indices)
            for (study, modality), indices in others.items()
            if modality in own
        ]
        return sorted(found, key=lambda prior: prior.distance)

    def _prior(self, study: str, modality: str, own: list[int], others: list[int]) -> Prior:
        other_hashes = self._hashes[others]
        best = 8 * HASH_BYTES + 1
        pair = (own[0], others[0])
        for index in own:
            distances = hamming(other_hashes, self._hashes[index])
            nearest = int(distances.argmin())
            if distances[nearest] < best:
                best, pair = int(distances[nearest]), (index, others[nearest])
        return Prior(study, modality, len(others), (self.frames[pair[0]], self.frames[pair[1]]), best)


def is_indexable(frame: HashedFrame) -> bool:
    """Return True if the frame has something to be found by."""
    return frame.quality >= MIN_QUALITY and len(frame.hash) == HASH_BYTES


def hash_matrix(frames: Sequence[HashedFrame]) -> _Hashes:
    """Return hashes as ``(n, 4)`` 64-bit words."""
    joined = b"".join(frame.hash for frame in frames)
    return np.frombuffer(joined, np.uint64).reshape(len(frames), _WORDS)


def hamming(hashes: _Hashes, one: _Hashes) -> _Distances:
    """Return how many bits each of `hashes` differs from `one`."""
    distances: _Distances = np.bitwise_count(hashes ^ one).sum(axis=1)
    return distances


def _candidate(frame: HashedFrame, other: HashedFrame, distance: int) -> Candidate:
    relation = Relation.SAME_PICTURE if distance <= SAME_PICTURE_DISTANCE else Relation.RELATED_VIEW
    return Candidate(frame, other, relation, distance, sameness(frame.enc, frame.pix, other.enc, other.pix))
