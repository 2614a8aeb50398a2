"""How elements are written in Little Endian (PS3.5 section 7.1)."""

from __future__ import annotations

import struct
from typing import Final

from nearframe.dicom.element import UNDEFINED_LENGTH
from nearframe.dicom.vr import LONG_FORM
from nearframe.errors import MalformedDICOM

_SHORT_FORM_MAX_BYTES: Final = 0xFFFE


def element_bytes(tag: int, vr: str, value: bytes, *, implicit_vr: bool = False) -> bytes:
    """Return a small element, padded to even length (PS3.5 section 6.2)."""
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    return element_header(tag, vr, len(value), implicit_vr=implicit_vr) + value


def element_header(tag: int, vr: str, length: int, *, implicit_vr: bool = False) -> bytes:
    """Return tag, VR and length; a value too long for its VR goes as UN (PS3.5 section 6.2.2).

    Parameters
    ----------
    implicit_vr
        True to leave the VR out (PS3.5 section 7.1.3).

    Raises
    ------
    MalformedDICOM
        If it is too long for any.
    """
    if length > UNDEFINED_LENGTH:
        raise MalformedDICOM(f"the value of element {tag:08X} is longer than 4 GiB")
    if implicit_vr:
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)
    if vr not in LONG_FORM and length > _SHORT_FORM_MAX_BYTES:
        vr = "UN"
    if vr in LONG_FORM:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)


def delimiter(tag: int, length: int = 0) -> bytes:
    """Return an item tag or a delimitation item."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)
