"""Which values leave the header, and how metadata names them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nearframe.dicom.element import (
    DOUBLE_FLOAT_PIXEL_DATA,
    EXTENDED_OFFSET_TABLE,
    EXTENDED_OFFSET_TABLE_LENGTHS,
    FLOAT_PIXEL_DATA,
    PIXEL_DATA,
    Element,
)
from nearframe.dicom.limits import BULK_ANY_VR_MIN_BYTES, BULK_MIN_BYTES
from nearframe.dicom.vr import BULKY

PIXEL_DATA_TAGS: Final = frozenset({PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA})

#: They say where frames lie, so they stay in the header however long they are.
_STAYS: Final = frozenset({EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS})


def is_cut(element: Element) -> bool:
    """Return True if the value is stored as a piece of its own. Not asked for top-level pixel data."""
    if element.length < BULK_MIN_BYTES or element.items is not None or element.tag in _STAYS:
        return False
    return element.vr in BULKY or element.fragments is not None or element.length >= BULK_ANY_VR_MIN_BYTES


def cut_values(elements: list[Element]) -> Iterator[Element]:
    """Yield the elements, at any depth, whose values are cut; top-level pixel data excepted."""
    pending = [element for element in reversed(elements) if element.tag not in PIXEL_DATA_TAGS]
    while pending:
        element = pending.pop()
        if element.length < BULK_MIN_BYTES:
            continue
        if element.items is not None:
            pending.extend(inner for item in reversed(element.items) for inner in reversed(item.elements))
        elif is_cut(element):
            yield element
