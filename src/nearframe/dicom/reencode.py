"""The same data set in Little Endian, as a list of what to write in which order.

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

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

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
from nearframe.dicom.elementbytes import delimiter, element_bytes, element_header
from nearframe.dicom.filemeta import file_meta
from nearframe.dicom.vr import LONG_FORM, NUMERIC, WORD_BYTES
from nearframe.ids import Identity
from nearframe.units import KIB

#: Larger values are referred to, not copied into the plan.
COPIED_BYTES: Final = 16 * KIB

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


def meta_of(part10: Part10, identity: Identity, transfer_syntax_uid: str) -> bytes:
    """Return preamble, prefix and File Meta Information for the object in another transfer syntax.

    What the received meta information says stays, but for the transfer syntax, who wrote it,
    and the object's own identifiers, which some writers get wrong.
    """
    received = {element.tag: (element.vr, part10.meta.value(element)) for element in part10.meta.elements}
    return file_meta(identity.sop_class_uid, identity.sop_instance_uid, transfer_syntax_uid, received)


def data_set(
    dataset: DataSet, changes: Changes, *, replaces_pixel_data: bool, implicit_vr: bool = False
) -> Iterator[Chunk]:
    """Yield the data set in Explicit VR Little Endian.

    Parameters
    ----------
    replaces_pixel_data
        True if the caller writes the Pixel Data element (`PixelDataHere`), False to copy it.
    implicit_vr
        True for Implicit VR Little Endian.
    """
    writer = _Writer(dataset, implicit_vr)
    yield from _joined(writer.elements(dataset.elements, dataset.encoding, changes, replaces_pixel_data))


class _Writer:
    """Writes the elements of one data set."""

    def __init__(self, dataset: DataSet, implicit_vr: bool) -> None:
        self._dataset = dataset
        self._implicit_vr = implicit_vr

    def elements(
        self, elements: Iterable[Element], encoding: Encoding, changes: Changes, replaces_pixel_data: bool
    ) -> Iterator[Chunk]:
        pending = dict(changes)
        for element in elements:
            for tag in sorted(tag for tag in pending if tag < element.tag):
                yield self._changed(tag, pending.pop(tag))
            if element.tag in pending:
                yield self._changed(element.tag, pending.pop(element.tag))
            elif replaces_pixel_data and element.tag == PIXEL_DATA:
                yield PixelDataHere()
            elif not (replaces_pixel_data and element.tag in _OFFSET_TABLES):
                yield from self._element(element, encoding)
        for tag in sorted(pending):
            yield self._changed(tag, pending[tag])

    def _changed(self, tag: int, change: tuple[str, bytes]) -> bytes:
        return element_bytes(tag, *change, implicit_vr=self._implicit_vr)

    def _header(self, tag: int, vr: str, length: int) -> bytes:
        return element_header(tag, vr, length, implicit_vr=self._implicit_vr)

    def _element(self, element: Element, encoding: Encoding) -> Iterator[Chunk]:
        if element.tag & 0xFFFF == 0 or element.fragments is not None:
            return  # a group length, which would be wrong; a compressed value of another syntax
        if element.items is not None:
            yield self._header(element.tag, "SQ", UNDEFINED_LENGTH)
            for item in element.items:
                yield from self._item(item)
            yield delimiter(SEQUENCE_DELIMITATION)
            return
        yield self._header(element.tag, element.vr, element.length + element.length % 2)
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
