"""What parsing yields: where the elements of a data set are, not what they hold.

Values stay in the source. An element costs one small object, whatever its size.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from nearframe.dicom.model import Slice, Source
from nearframe.ids import normalise_uid

UNDEFINED_LENGTH = 0xFFFFFFFF

ITEM = 0xFFFEE000
ITEM_DELIMITATION = 0xFFFEE00D
SEQUENCE_DELIMITATION = 0xFFFEE0DD

PIXEL_DATA = 0x7FE00010
FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00009
EXTENDED_OFFSET_TABLE = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002


class Encoding(Enum):
    """How elements are framed (PS3.5 section 7.1) and in which byte order."""

    IMPLICIT_LITTLE = "implicit VR little endian"
    EXPLICIT_LITTLE = "explicit VR little endian"
    EXPLICIT_BIG = "explicit VR big endian"

    @property
    def order(self) -> str:
        """The byte order as `struct` writes it."""
        return ">" if self is Encoding.EXPLICIT_BIG else "<"


class Fragments(NamedTuple):
    """The items of an encapsulated value (PS3.5 Annex A.4).

    Attributes
    ----------
    offset_table
        The value of the first item, the Basic Offset Table; often empty.
    starts, lengths
        Where the value of each further item begins, and its bytes.
    """

    offset_table: Slice
    starts: array[int]
    lengths: array[int]


@dataclass(slots=True)
class Item:
    """One item of a sequence: a data set in its own right.

    Attributes
    ----------
    encoding
        The items of a sequence sent as UN are implicit little endian whatever surrounds them
        (PS3.5 section 6.2.2).
    """

    offset: int
    encoding: Encoding
    elements: list[Element] = field(default_factory=list)

    def get(self, tag: int) -> Element | None:
        """Return an element of this item by tag."""
        return next((element for element in self.elements if element.tag == tag), None)


class Element:
    """One data element.

    Attributes
    ----------
    vr
        Two letters. That of the dictionary where the file names none, or UN for a standard element.
    offset, value_offset
        Where the element and its value begin.
    end
        The byte after the element, delimiters included.
    length
        Bytes of the value as they lie in the file; delimiters excluded, item tags included.
    items
        For a sequence, else None.
    fragments
        For an encapsulated value, else None.
    """

    __slots__ = ("end", "fragments", "items", "length", "offset", "tag", "value_offset", "vr")

    def __init__(self, tag: int, vr: str, offset: int, value_offset: int, length: int, end: int) -> None:
        self.tag = tag
        self.vr = vr
        self.offset = offset
        self.value_offset = value_offset
        self.length = length
        self.end = end
        self.items: list[Item] | None = None
        self.fragments: Fragments | None = None

    def __repr__(self) -> str:
        return f"Element({self.tag:08X}, {self.vr}, {self.offset}, {self.length})"


@dataclass
class DataSet:
    """The elements at the top of a data set, and the bytes they point into.

    Attributes
    ----------
    source
        What the offsets of its elements address.
    head
        The first bytes of `source`, read while parsing.
    end
        The byte after the last element; what follows in `source` is padding or was not understood.
    """

    source: Source
    head: bytes
    encoding: Encoding
    elements: list[Element]
    end: int

    @cached_property
    def by_tag(self) -> dict[int, Element]:
        """Top-level elements by tag; of a repeated tag, the last."""
        return {element.tag: element for element in self.elements}

    def value(self, element: Element) -> bytes:
        """Return the raw value of an element, however large."""
        start = element.value_offset
        stop = start + element.length
        if stop <= len(self.head):
            return self.head[start:stop]
        return self.source.read(start, element.length)

    def text(self, tag: int) -> str:
        """Return a value of the default character repertoire, padding removed; "" if absent or long."""
        element = self.by_tag.get(tag)
        if element is None or element.length > _LONGEST_CODE:
            return ""
        # Some writers leave what was in a buffer behind the NUL that ends a value.
        return normalise_uid(self.value(element).decode("latin-1")).partition("\0")[0]

    def number(self, tag: int) -> int | None:
        """Return the first value of a US element, or None."""
        element = self.by_tag.get(tag)
        if element is None or not 2 <= element.length <= _LONGEST_CODE:
            return None
        return int.from_bytes(self.value(element)[:2], "big" if self.encoding is Encoding.EXPLICIT_BIG else "little")


_LONGEST_CODE = 1024  # UIDs and codes have 64 characters at most; some writers send lists


@dataclass(frozen=True)
class Part10:
    """A parsed file.

    Attributes
    ----------
    source
        The file.
    meta
        The File Meta Information; without elements if the file has none.
    dataset
        The data set. Its offsets address `source`, or for a deflated object the inflated bytes.
    dataset_offset
        Where the data set begins in `source`, deflated or not.
    transfer_syntax_uid
        As named, or guessed from the bytes where it is not.
    is_deflated
        True if `dataset` does not lie in `source`.
    notes
        Codes of oddities, see `dicom.notes`.
    """

    source: Source
    meta: DataSet
    dataset: DataSet
    dataset_offset: int
    transfer_syntax_uid: str
    is_deflated: bool
    notes: tuple[str, ...]
