"""What a re-sent instance is, compared with the one that is current."""

from __future__ import annotations

from enum import Enum, auto

from nearframe.ids import Digest
from nearframe.storage.ports import BulkEntry, ContentKind
from nearframe.wire.frametable import FrameTable


class Pixels(Enum):
    """How the pixels of two versions of an instance relate."""

    SAME = auto()
    DIFFERENT = auto()
    #: Encoded differently, and at least one side's samples are not known.
    UNKNOWN = auto()


def compare_pixels(
    current: FrameTable,
    current_bulk: tuple[BulkEntry, ...],
    incoming: FrameTable,
    incoming_bulk: tuple[BulkEntry, ...],
) -> Pixels:
    """Tell whether two versions differ in nothing but their headers.

    Frames are equal if their encoded bytes are, or if both have a digest of their samples
    and those are. Bulk values are equal by tag and digest. A data set that could not be cut
    (deflated, undecodable) counts only where it is all there is: beside frames it holds
    their encoded form and the header, and the frames have been compared.
    """
    if len(current) != len(incoming):
        return Pixels.DIFFERENT
    whole_counts = len(current) == 0
    if _bulk_digests(current_bulk, whole_counts) != _bulk_digests(incoming_bulk, whole_counts):
        return Pixels.DIFFERENT
    if current.enc == incoming.enc:
        return Pixels.SAME
    verdict = Pixels.SAME
    for index in range(len(current)):
        if current.enc_of(index) == incoming.enc_of(index):
            continue
        ours, theirs = current.pix_of(index), incoming.pix_of(index)
        if ours is None or theirs is None:
            verdict = Pixels.UNKNOWN
        elif ours != theirs:
            return Pixels.DIFFERENT
    return verdict


def _bulk_digests(bulk: tuple[BulkEntry, ...], whole_counts: bool) -> list[tuple[int, Digest]]:
    return sorted((e.tag, e.digest) for e in bulk if whole_counts or e.kind is not ContentKind.OPAQUE)
