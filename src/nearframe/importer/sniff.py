"""Telling DICOM, archives and everything else apart by content: names on media mean little."""

from __future__ import annotations

import re
from enum import Enum, auto

HEAD_BYTES = 512

_PREAMBLE_BYTES = 128
_IS_DIRECTORY = b"\x02\x00\x02\x00UI\x14\x001.2.840.10008.1.3.10"  # Media Storage SOP Class UID
_MAX_FIRST_VALUE_BYTES = 64 * 1024  # of group length, character set, image type: what an object opens with

# The first element of a data set that lacks preamble and meta group (PS3.10 asks for both,
# older archives write neither): group 0008, an element that objects open with, and then
# either a VR or a short length.
_FIRST_ELEMENTS = (0x0000, 0x0001, 0x0005, 0x0006, 0x0008, 0x0012, 0x0016, 0x0018)
_VR = re.compile(rb"UL|CS|UI|DA|TM|SQ|LO|SH")


class Kind(Enum):
    """What a file is."""

    DICOM = auto()
    DIRECTORY = auto()  # a DICOMDIR
    ZIP = auto()
    GZIP = auto()
    OTHER = auto()


def kind_of(head: bytes) -> Kind:
    """Return what a file is that begins with `head`, its first `HEAD_BYTES` or all there is."""
    if head[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM":
        return Kind.DIRECTORY if _IS_DIRECTORY in head else Kind.DICOM
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Kind.ZIP
    if head.startswith(b"\x1f\x8b\x08"):
        return Kind.GZIP
    return Kind.DICOM if _opens_like_a_data_set(head) else Kind.OTHER


def _opens_like_a_data_set(head: bytes) -> bool:
    if len(head) < 12:
        return False
    if head.startswith((b"\x02\x00\x00\x00UL", b"\x02\x00\x01\x00OB")):
        return True  # the meta group without its preamble
    return any(_first_element(head, order) for order in ("little", "big"))


def _first_element(head: bytes, order: str) -> bool:
    little = order == "little"
    group, element = (int.from_bytes(head[at : at + 2], "little" if little else "big") for at in (0, 2))
    if group != 0x0008 or element not in _FIRST_ELEMENTS:
        return False
    if _VR.match(head, 4):
        return True
    return little and int.from_bytes(head[4:8], "little") <= _MAX_FIRST_VALUE_BYTES
