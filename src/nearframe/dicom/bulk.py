"""Which values leave the header, and how metadata names them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from nearframe.dicom.element import (
    DOUBLE_FLOAT_PIXEL_DATA,
    EXTENDED_OFFSET_TABLE,
    EXTENDED_OFFSET_TABLE_LENGTHS,
    FLOAT_PIXEL_DATA,
    PIXEL_DATA,
    DataSet,
    Element,
    Encoding,
    Fragments,
)
from nearframe.dicom.limits import BULK_ANY_VR_MIN_BYTES, BULK_MIN_BYTES
from nearframe.dicom.model import Slice
from nearframe.dicom.vr import BULKY, NUMERIC, WORD_BYTES
from nearframe.errors import NotFound

PIXEL_DATA_TAGS: Final = frozenset({PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA})

#: What the relative BulkDataURIs of metadata begin with; tags and item indices follow.
BULK_ROOT: Final = "bulkdata/"

#: They say where frames lie, so they stay in the header however long they are.
_STAYS: Final = frozenset({EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS})

_PATH = re.compile(r"(?:bulkdata/)?((?:[0-9A-Fa-f]{8}/\d{1,6}/)*)([0-9A-Fa-f]{8})")


@dataclass(frozen=True, slots=True)
class BulkValue:
    """A value by its place.

    Attributes
    ----------
    slices
        Where it lies: one range, or one for each fragment of an encapsulated value.
    swapped_bytes
        Size of the words whose bytes must be reversed, as PS3.18 section 8.7.3.2 wants bulk data in
        little endian order; 1 if there is nothing to do.
    """

    vr: str
    slices: tuple[Slice, ...]
    swapped_bytes: int = 1


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


def value_slices(element: Element) -> tuple[Slice, ...]:
    """Return where a value lies: fragments joined, item tags and offset table left out."""
    if element.fragments is not None:
        return fragment_slices(element.fragments)
    return (Slice(element.value_offset, element.length),) if element.length else ()


def fragment_slices(fragments: Fragments, first: int = 0, following: int | None = None) -> tuple[Slice, ...]:
    """Return the values of fragments ``first:following`` that are not empty."""
    starts, lengths = fragments.starts[first:following], fragments.lengths[first:following]
    return tuple(Slice(start, length) for start, length in zip(starts, lengths, strict=True) if length)


def find_value(dataset: DataSet, path: str) -> BulkValue:
    """Return the value that a relative BulkDataURI names: ``bulkdata/<tag>``, ``bulkdata/<tag>/<item index>/<tag>``.

    Raises
    ------
    NotFound
        If there is no such element, or it is a sequence.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise NotFound("bulk data")
    steps = match[1].split("/")[:-1]
    encoding = dataset.encoding
    get: Callable[[int], Element | None] = dataset.by_tag.get
    for tag, index in zip(steps[::2], steps[1::2], strict=True):
        sequence = get(int(tag, 16))
        if sequence is None or sequence.items is None or int(index) >= len(sequence.items):
            raise NotFound("bulk data")
        item = sequence.items[int(index)]
        encoding, get = item.encoding, item.get
    element = get(int(match[2], 16))
    if element is None or element.items is not None:
        raise NotFound("bulk data")
    return BulkValue(element.vr, value_slices(element), _swapped_bytes(element, encoding))


def _swapped_bytes(element: Element, encoding: Encoding) -> int:
    if encoding is not Encoding.EXPLICIT_BIG or element.fragments is not None:
        return 1
    return NUMERIC[element.vr][1] if element.vr in NUMERIC else WORD_BYTES.get(element.vr, 1)
