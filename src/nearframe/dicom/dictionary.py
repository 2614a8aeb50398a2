"""The data dictionary (PS3.6): tag to VR and keyword and back.

The tables are pydicom's; here they become one small dictionary each, so that a look-up on
the parsing path is one hash probe.
"""

from __future__ import annotations

from functools import cache

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.datadict import private_dictionary_VR

#: A VR that only the rest of the data set can decide, e.g. by Pixel Representation.
US_OR_SS = "US or SS"

#: What an ambiguous VR is in Implicit VR Little Endian (PS3.5 Annex A.1).
_IN_IMPLICIT = {
    "OB or OW": "OW",
    "US or OW": "OW",
    "US or SS": US_OR_SS,
    "US or SS or OW": US_OR_SS,
    "NONE": "UN",
}

_VR: dict[int, str] = {tag: _IN_IMPLICIT.get(row[0], row[0]) for tag, row in DicomDictionary.items()}
_KEYWORD: dict[int, str] = {tag: row[4] for tag, row in DicomDictionary.items() if row[4]}
_TAG: dict[str, int] = {keyword: tag for tag, keyword in _KEYWORD.items()}

# LUT Data has as many 16-bit values as LUT Descriptor says: an array, whatever the dictionary's third choice.
_VR[0x00283006] = "OW"


def public_vr(tag: int) -> str | None:
    """Return the VR of a standard element, or None if the dictionary has no such tag.

    The answer may be `US_OR_SS`, which depends on Pixel Representation.
    """
    vr = _VR.get(tag)
    if vr is not None:
        return vr
    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        # PS3.5 section 7.8.1: private creators are (gggg,0010-00FF).
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else None
    return _repeated_vr(tag)


def private_vr(tag: int, creator: str) -> str | None:
    """Return the VR of a private element whose block is reserved by `creator`, if that writer is known."""
    try:
        vr = private_dictionary_VR(tag, creator)
    except KeyError:
        return None
    return _IN_IMPLICIT.get(vr, vr)


def keyword_of(tag: int) -> str | None:
    """Return the keyword of a standard element, e.g. ``"PatientName"``."""
    return _KEYWORD.get(tag)


def tag_of(keyword: str) -> int | None:
    """Return the tag of a keyword."""
    return _TAG.get(keyword)


@cache
def _repeaters() -> tuple[tuple[int, int, str], ...]:
    """Return ``(mask, value, VR)`` of the repeating groups, e.g. 60xx3000 (PS3.5 section 7.6)."""
    rows = []
    for pattern, row in RepeatersDictionary.items():
        mask = int("".join("0" if c == "x" else "F" for c in pattern), 16)
        value = int(pattern.replace("x", "0"), 16)
        rows.append((mask, value, _IN_IMPLICIT.get(row[0], row[0])))
    return tuple(rows)


def _repeated_vr(tag: int) -> str | None:
    return next((vr for mask, value, vr in _repeaters() if tag & mask == value), None)
