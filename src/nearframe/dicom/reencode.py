"""The same data set in Explicit VR Little Endian, as a list of what to write in which order.

A transfer syntax change touches how elements are framed, never what they say: values are
copied as they are (byte order aside), large ones by reference. What has to change with
the pixel data is given by the caller. Left out: group lengths, offset tables of frames
that are framed anew, and compressed icons, which would have to be compressed like the
picture.

References
----------
PS3.5 sections 7.1, 7.5 and 6.2.2 (values too long for their VR become UN), Annex A.2;
PS3.10 section 7.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from nearframe.dicom.build import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from nearframe.dicom.bulk import PIXEL_DATA_TAGS
from nearframe.dicom.dicomjson import swap_words
from nearframe.dicom.element import (
    EXTENDED_OFFSET_TABLE,
    EXTENDED_OFFSET_TABLE_LENGTHS,
    ITEM,
    ITEM_DELIMITATION,
    PIXEL_DATA,
    SEQUENCE_DELIMITATION,
    UNDEFINED_LENGTH,
    DataSet,
    Element,
    Encoding,
    Item,
    Part10,
)
from nearframe.dicom.vr import LONG_FORM, NUMERIC, WORD_BYTES
from nearframe.ids import Identity
from nearframe.units import KIB

#: Larger values are referred to, not copied into the plan.
COPIED_BYTES: Final = 16 * KIB
_SHORT_FORM_MAX_BYTES: Final = 0xFFFE

_GROUP_LENGTH: Final = 0x00020000
_META_VERSION: Final = 0x00020001
_MEDIA_SOP_CLASS: Final = 0x00020002
_MEDIA_SOP_INSTANCE: Final = 0x00020003
_TRANSFER_SYNTAX: Final = 0x00020010
_IMPLEMENTATION_CLASS: Final = 0x00020012
_IMPLEMENTATION_VERSION: Final = 0x00020013

_OFFSET_TABLES: Final = (EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS)


@dataclass(frozen=True, slots=True)
class ValueSlice:
    """A value to be copied: bytes of the data set's source, reversed in words of `word_bytes`."""

    offset: int
    length: int
    word_bytes: int = 1


@dataclass(frozen=True, slots=True)
class PixelDataHere:
    """Where the caller writes the Pixel Data element, as a whole."""


Chunk: TypeAlias = bytes | ValueSlice | PixelDataHere

#: Tag to VR and value: what stands there instead of, or beside, what the object has.
Changes: TypeAlias = Mapping[int, tuple[str, bytes]]


def file_meta(part10: Part10, identity: Identity, transfer_syntax_uid: str) -> bytes:
    """Return preamble, prefix and File Meta Information for the object in another transfer syntax.

    What the received meta information says stays, but for the transfer syntax, who wrote it,
    and the object's own identifiers, which some writers get wrong.
    """
    values = {element.tag: (element.vr, part10.meta.value(element)) for element in part10.meta.elements}
    values.setdefault(_META_VERSION, ("OB", b"\0\1"))
    values[_MEDIA_SOP_CLASS] = ("UI", identity.sop_class_uid.encode("ascii", "replace"))
    values[_MEDIA_SOP_INSTANCE] = ("UI", identity.sop_instance_uid.encode("ascii", "replace"))
    values[_TRANSFER_SYNTAX] = ("UI", transfer_syntax_uid.encode())
    values[_IMPLEMENTATION_CLASS] = ("UI", IMPLEMENTATION_CLASS_UID.encode())
    values[_IMPLEMENTATION_VERSION] = ("SH", IMPLEMENTATION_VERSION_NAME.encode())
    values.pop(_GROUP_LENGTH, None)
    group = b"".join(element_bytes(tag, *values[tag]) for tag in sorted(values))
    return bytes(128) + b"DICM" + element_bytes(_GROUP_LENGTH, "UL", struct.pack("<I", len(group))) + group


def data_set(dataset: DataSet, changes: Changes, *, replaces_pixel_data: bool) -> Iterator[Chunk]:
    """Yield the data set in Explicit VR Little Endian.

    Parameters
    ----------
    replaces_pixel_data
        True if the caller writes the Pixel Data element (`PixelDataHere`), False to copy it.
    """
    yield from _joined(_Writer(dataset).elements(dataset.elements, dataset.encoding, changes, replaces_pixel_data))


def element_bytes(tag: int, vr: str, value: bytes) -> bytes:
    """Return a small element, padded to even length (PS3.5 section 6.2)."""
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    return element_header(tag, vr, len(value)) + value


def element_header(tag: int, vr: str, length: int) -> bytes:
    """Return tag, VR and length; a value too long for its VR goes as UN."""
    if vr not in LONG_FORM and length > _SHORT_FORM_MAX_BYTES:
        vr = "UN"
    if vr in LONG_FORM:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)


def delimiter(tag: int, length: int = 0) -> bytes:
    """Return an item tag or a delimitation item."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


class _Writer:
    """Writes the elements of one data set."""

    def __init__(self, dataset: DataSet) -> None:
        self._dataset = dataset

    def elements(
        self, elements: Iterable[Element], encoding: Encoding, changes: Changes, replaces_pixel_data: bool
    ) -> Iterator[Chunk]:
        pending = dict(changes)
        for element in elements:
            for tag in sorted(tag for tag in pending if tag < element.tag):
                yield element_bytes(tag, *pending.pop(tag))
            if element.tag in pending:
                yield element_bytes(element.tag, *pending.pop(element.tag))
            elif replaces_pixel_data and element.tag == PIXEL_DATA:
                yield PixelDataHere()
            elif not (replaces_pixel_data and element.tag in _OFFSET_TABLES):
                yield from self._element(element, encoding)
        for tag in sorted(pending):
            yield element_bytes(tag, *pending[tag])

    def _element(self, element: Element, encoding: Encoding) -> Iterator[Chunk]:
        if element.tag & 0xFFFF == 0 or element.fragments is not None:
            return  # a group length, which would be wrong; a compressed value of another syntax
        if element.items is not None:
            yield element_header(element.tag, "SQ", UNDEFINED_LENGTH)
            for item in element.items:
                yield from self._item(item)
            yield delimiter(SEQUENCE_DELIMITATION)
            return
        yield element_header(element.tag, element.vr, element.length + element.length % 2)
        yield from self._value(element, _word_bytes(element.vr) if encoding is Encoding.EXPLICIT_BIG else 1)
        if element.length % 2:
            yield b"\0" if element.vr in LONG_FORM or element.vr == "UI" else b" "

    def _item(self, item: Item) -> Iterator[Chunk]:
        if any(element.fragments is not None for element in item.elements):
            return  # a compressed icon: its pixel data would have to follow the transfer syntax
        yield delimiter(ITEM, UNDEFINED_LENGTH)
        yield from self.elements(item.elements, item.encoding, {}, replaces_pixel_data=False)
        yield delimiter(ITEM_DELIMITATION)

    def _value(self, element: Element, word_bytes: int) -> Iterator[Chunk]:
        if element.length > COPIED_BYTES or element.tag in PIXEL_DATA_TAGS:  # frames of any size leave the header
            yield ValueSlice(element.value_offset, element.length, word_bytes)
            return
        value = self._dataset.value(element)
        yield swap_words(value, word_bytes) if word_bytes > 1 else value


def _word_bytes(vr: str) -> int:
    """Return the bytes of one number of this VR: what is reversed between byte orders."""
    if vr == "AT":
        return 2
    return NUMERIC[vr][1] if vr in NUMERIC else WORD_BYTES.get(vr, 1)


def _joined(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Yield the chunks with neighbouring bytes put together."""
    held = bytearray()
    for chunk in chunks:
        if isinstance(chunk, bytes):
            held += chunk
            continue
        if held:
            yield bytes(held)
            held.clear()
        yield chunk
    if held:
        yield bytes(held)
