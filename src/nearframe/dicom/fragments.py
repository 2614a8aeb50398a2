"""Indexing the fragments of an encapsulated value (PS3.5 Annex A.4)."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from struct import Struct

from nearframe.dicom.element import Fragments
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import Slice
from nearframe.dicom.window import Window
from nearframe.errors import LimitExceeded

ITEM_HEADER_BYTES = 8
_ITEM_HEADER = {order: Struct(f"{order}HHL") for order in "<>"}
_ROUND = 4096  # fragments between two looks at the clock


def index_fragments(
    window: Window, start: int, bound: int, order: str, limits: Limits, check_time: Callable[[], None]
) -> tuple[Fragments, int, int | None]:
    """Walk from item to item without looking into them.

    Only their lengths lead on: a delimiter's bytes inside a code stream mean nothing.

    Returns
    -------
    tuple
        The fragments; the offset at which the walk ended; and the tag found there, or None if
        an item, or its tag, reaches beyond `bound`.
    """
    starts, lengths = array("Q"), array("Q")
    unpack, peek = _ITEM_HEADER[order].unpack, window.peek
    position, tag = start, None
    while position + ITEM_HEADER_BYTES <= bound:
        group, number, length = unpack(peek(position, ITEM_HEADER_BYTES))
        if group != 0xFFFE or number != 0xE000:
            tag = group << 16 | number
            break
        following = position + ITEM_HEADER_BYTES + length
        if following > bound:
            break
        starts.append(position + ITEM_HEADER_BYTES)
        lengths.append(length)
        if len(starts) > limits.max_fragments + 1:  # the first item is the offset table
            raise LimitExceeded("max_fragments", limits.max_fragments)
        if len(starts) % _ROUND == 0:
            check_time()
        position = following
    table = Slice(starts[0], lengths[0]) if starts else Slice(start, 0)
    return Fragments(table, starts[1:], lengths[1:]), position, tag
