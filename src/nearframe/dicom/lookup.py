"""Finding the VR of elements whose file does not say it."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from nearframe.dicom import dictionary
from nearframe.dicom.element import Element
from nearframe.dicom.vr import KNOWN
from nearframe.dicom.window import Window

_CREATOR_MAX_BYTES = 64  # VR LO
_PIXEL_REPRESENTATION = 0x00280103


@lru_cache(maxsize=8192)
def _private_vr(tag: int, creator: bytes) -> str | None:
    return dictionary.private_vr(tag, creator.decode("latin-1").strip("\0 "))


class PrivateBlocks:
    """Who reserved which private block of one data set (PS3.5 section 7.8.1)."""

    __slots__ = ("_creators", "_elements", "_scanned")

    def __init__(self, elements: list[Element]) -> None:
        self._elements = elements
        self._creators: dict[int, Element] = {}
        self._scanned = 0

    def creator(self, block: int) -> Element | None:
        """Return the private creator element with tag `block`, among the elements there are by now."""
        elements, scanned = self._elements, self._scanned
        for index in range(scanned, len(elements)):
            tag = elements[index].tag
            if tag & 0x10000 and tag & 0xFFFF <= 0xFF:
                self._creators[tag] = elements[index]
        self._scanned = len(elements)
        return self._creators.get(block)


class VRLookup:
    """Looks VRs up in the dictionary, those of private elements by their creator."""

    def __init__(self, window: Window) -> None:
        self._window = window

    def find(self, tag: int, blocks: PrivateBlocks) -> str | None:
        """Return the VR the dictionary has for an element of the data set of `blocks`, or None."""
        if not tag & 0x10000 or tag & 0xFFFF <= 0xFF:
            return dictionary.public_vr(tag)
        creator = blocks.creator(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
        if creator is None or creator.length > _CREATOR_MAX_BYTES:
            return None
        return _private_vr(tag, self._window.peek(creator.value_offset, creator.length))

    def find_unknown(self, tag: int, blocks: PrivateBlocks, otherwise: str = "UN") -> str:
        """Return the VR of an element that was sent as UN (PS3.5 section 6.2.2, Note 3)."""
        vr = self.find(tag, blocks)
        return otherwise if vr is None or vr == dictionary.US_OR_SS else vr

    def settle(self, ambiguous: list[Element], root: list[Element]) -> None:
        """Decide "US or SS" by Pixel Representation (PS3.5 Annex A.1)."""
        if not ambiguous:
            return
        vr = "US"
        for element in root:
            if element.tag == _PIXEL_REPRESENTATION and element.length == 2:
                vr = "SS" if self._window.peek(element.value_offset, 2) == b"\1\0" else "US"
        for element in ambiguous:
            element.vr = vr


_IMPLICIT_LENGTH = {order: Struct(f"{order}4xL") for order in "<>"}
_SHORT_LENGTH = {order: Struct(f"{order}6xH") for order in "<>"}
_LONG_LENGTH = {order: Struct(f"{order}8xL") for order in "<>"}


def odd_framings(header: bytes, order: str) -> list[tuple[int, int]]:
    """Return how an element of explicit VR whose VR does not exist may be framed, most likely first.

    Parameters
    ----------
    header
        The element's first 8 to 12 bytes.

    Returns
    -------
    list[tuple[int, int]]
        Bytes of the header, and of the value.
    """
    implicit = (8, _IMPLICIT_LENGTH[order].unpack_from(header)[0])
    short = (8, _SHORT_LENGTH[order].unpack_from(header)[0])
    if not header[4:6].isalpha():
        return [implicit, short]
    if len(header) == 12 and header[6:8] == b"\0\0":
        # A VR of a later edition has the 32-bit form (PS3.5 section 6.2).
        return [(12, _LONG_LENGTH[order].unpack_from(header)[0]), short, implicit]
    return [short, implicit]


def odd_vr(code: bytes) -> str:
    """Return the VR that was probably meant: some writers use lower case."""
    vr = code.decode("latin-1").upper()
    return vr if vr in KNOWN and vr != "SQ" else "UN"
