"""What a tenant holds more than once: by bytes, by header, by pixels, and by looks.

The four are kept apart because they mean different things. The first two cost nothing
(contents are stored once); the third could be saved by re-encoding from one another; the
fourth is a question to a person, and nothing is ever done about it by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from nearframe.ids import Digest
from nearframe.perceptual.candidates import SAME_PICTURE_DISTANCE, hamming, hash_matrix, is_indexable
from nearframe.perceptual.hashedframe import HashedFrame, Sameness, sameness

#: Frames of one patient compared pairwise; of more, every second, third ... is taken. 1e4 squared takes about 3 s.
MAX_COMPARED_FRAMES = 10_000

#: Which patient a frame is of: any value that is equal for one patient within one tenant.
Scope = Callable[[HashedFrame], str]


@dataclass(frozen=True, slots=True)
class Repeated:
    """How much there is of one kind of repetition, beyond the first of each."""

    frames: int = 0
    bytes: int = 0
    instances: int = 0


@dataclass(frozen=True, slots=True)
class SeriesMatch:
    """Two series of one patient with frames that look the same and are not proved to be.

    Attributes
    ----------
    series, other_series
        The one with fewer frames first.
    frames, bytes
        Frames of `series` with a look-alike in the other, and their encoded bytes.
    share
        `frames` by all compared frames of `series`.
    median_distance
        In bits of 256.
    """

    study_instance_uid: str
    series_instance_uid: str
    other_study_instance_uid: str
    other_series_instance_uid: str
    modality: str
    frames: int
    bytes: int
    share: float
    median_distance: float


@dataclass(frozen=True, slots=True)
class DedupeReport:
    """Repetitions among frames, each frame counted under one heading only.

    Attributes
    ----------
    metadata_only
        Instances whose frames are all, byte for byte, those of another instance: re-sent
        with another header.
    exact
        Other frames whose bytes are held already.
    same_pixels
        Frames with the same samples in another encoding.
    candidates
        Pairs of series that look the same. Proposals: no digest proves them.
    """

    frames: int
    bytes: int
    metadata_only: Repeated
    exact: Repeated
    same_pixels: Repeated
    candidates: tuple[SeriesMatch, ...]

    @property
    def saved_bytes(self) -> int:
        """Bytes that storing contents once has saved."""
        return self.metadata_only.bytes + self.exact.bytes


def dedupe_report(frames: Iterable[HashedFrame], scope: Scope) -> DedupeReport:
    """Report what occurs more than once.

    Parameters
    ----------
    frames
        Of one tenant: current frames, each once.
    scope
        Look-alikes are searched for within equal scopes only.
    """
    held = list(frames)
    contents: dict[Digest, HashedFrame] = {}
    for frame in held:
        contents.setdefault(frame.enc, frame)
    total = sum(frame.length for frame in held)
    repeated_bytes = total - sum(frame.length for frame in contents.values())
    metadata_only = _metadata_only(held)
    exact = Repeated(
        frames=len(held) - len(contents) - metadata_only.frames, bytes=repeated_bytes - metadata_only.bytes
    )
    pixels, firsts = _same_pixels(contents.values())
    return DedupeReport(len(held), total, metadata_only, exact, pixels, _look_alikes(firsts, scope))


def _metadata_only(frames: list[HashedFrame]) -> Repeated:
    instances: dict[tuple[str, int], list[HashedFrame]] = defaultdict(list)
    for frame in frames:
        instances[frame.identity.sop_instance_uid, frame.version].append(frame)
    seen: set[bytes] = set()
    copies: list[list[HashedFrame]] = []
    for members in instances.values():
        members.sort(key=lambda frame: frame.frame_index)
        content = b"".join(frame.enc for frame in members)
        if content in seen:
            copies.append(members)
        seen.add(content)
    return Repeated(
        frames=sum(map(len, copies)),
        bytes=sum(frame.length for members in copies for frame in members),
        instances=len(copies),
    )


def _same_pixels(contents: Iterable[HashedFrame]) -> tuple[Repeated, list[HashedFrame]]:
    """Return the repetition by `pix`, and one frame for each set of samples: the smallest encoding."""
    by_pix: dict[Digest, list[HashedFrame]] = defaultdict(list)
    firsts: list[HashedFrame] = []
    for frame in contents:
        if frame.pix is None:
            firsts.append(frame)
        else:
            by_pix[frame.pix].append(frame)
    frames = size = 0
    for same in by_pix.values():
        same.sort(key=lambda frame: frame.length)
        firsts.append(same[0])
        frames += len(same) - 1
        size += sum(frame.length for frame in same[1:])
    return Repeated(frames, size), firsts


def _look_alikes(frames: list[HashedFrame], scope: Scope) -> tuple[SeriesMatch, ...]:
    patients: dict[str, list[HashedFrame]] = defaultdict(list)
    for frame in frames:
        if is_indexable(frame):
            patients[scope(frame)].append(frame)
    matches = [match for members in patients.values() for match in _series_matches(members)]
    return tuple(sorted(matches, key=lambda match: (-match.bytes, match.median_distance)))


def _series_matches(frames: list[HashedFrame]) -> list[SeriesMatch]:
    frames = frames[:: -(-len(frames) // MAX_COMPARED_FRAMES)]
    series: dict[str, list[HashedFrame]] = defaultdict(list)
    for frame in frames:
        series[frame.identity.series_instance_uid].append(frame)
    ordered = sorted(series.values(), key=len)
    hashes = [hash_matrix(members) for members in ordered]
    matches = []
    for smaller, members in enumerate(ordered):
        for larger in range(smaller + 1, len(ordered)):
            nearest = [hamming(hashes[larger], one) for one in hashes[smaller]]
            pairs = [
                (frame, int(distances.min()))
                for frame, distances in zip(members, nearest, strict=True)
                if distances.min() <= SAME_PICTURE_DISTANCE
                and _is_unproved(frame, ordered[larger][int(distances.argmin())])
            ]
            if pairs:
                matches.append(_match(members, ordered[larger][0], pairs))
    return matches


def _is_unproved(frame: HashedFrame, other: HashedFrame) -> bool:
    return sameness(frame.enc, frame.pix, other.enc, other.pix) is Sameness.UNPROVED


def _match(members: list[HashedFrame], other: HashedFrame, pairs: list[tuple[HashedFrame, int]]) -> SeriesMatch:
    one = members[0]
    return SeriesMatch(
        study_instance_uid=one.identity.study_instance_uid,
        series_instance_uid=one.identity.series_instance_uid,
        other_study_instance_uid=other.identity.study_instance_uid,
        other_series_instance_uid=other.identity.series_instance_uid,
        modality=one.modality,
        frames=len(pairs),
        bytes=sum(frame.length for frame, _ in pairs),
        share=len(pairs) / len(members),
        median_distance=float(np.median([distance for _, distance in pairs])),
    )
