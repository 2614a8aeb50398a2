"""The data dictionary (PS3.6): tag to VR and keyword and back.

The tables are pydicom's; here they become one small dictionary each, so that a look-up on
the parsing path is one hash probe. They are made when something is first looked up: importing
pydicom, which looks for every decoder there is, takes as long as all else that a node needs
to serve what it holds.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

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


class _Tables(NamedTuple):
    vr: dict[int, str]
    keyword: dict[int, str]
    tag: dict[str, int]


@cache
def _tables() -> _Tables:
    from pydicom._dicom_dict import DicomDictionary

    vr = {tag: _IN_IMPLICIT.get(row[0], row[0]) for tag, row in DicomDictionary.items()}
    # LUT Data has as many 16-bit values as LUT Descriptor says: an array, whatever the dictionary's third choice.
    vr[0x00283006] = "OW"
    keywords = {tag: row[4] for tag, row in DicomDictionary.items() if row[4]}
    return _Tables(vr, keywords, {keyword: tag for tag, keyword in keywords.items()})


def public_vr(tag: int) -> str | None:
    """Return the VR of a standard element, or None if the dictionary has no such tag.

    The answer may be `US_OR_SS`, which depends on Pixel Representation.
    """
    vr = _tables().vr.get(tag)
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
    from pydicom.datadict import private_dictionary_VR

    try:
        vr = private_dictionary_VR(tag, creator)
    except KeyError:
        return None
    return _IN_IMPLICIT.get(vr, vr)


def keyword_of(tag: int) -> str | None:
    """Return the keyword of a standard element, e.g. ``"PatientName"``."""
    return _tables().keyword.get(tag)


def tag_of(keyword: str) -> int | None:
    """Return the tag of a keyword."""
    return _tables().tag.get(keyword)


@cache
def _repeaters() -> tuple[tuple[int, int, str], ...]:
    """Return ``(mask, value, VR)`` of the repeating groups, e.g. 60xx3000 (PS3.5 section 7.6)."""
    from pydicom._dicom_dict import RepeatersDictionary

    rows = []
    for pattern, row in RepeatersDictionary.items():
        mask = int("".join("0" if c == "x" else "F" for c in pattern), 16)
        value = int(pattern.replace("x", "0"), 16)
        rows.append((mask, value, _IN_IMPLICIT.get(row[0], row[0])))
    return tuple(rows)


def _repeated_vr(tag: int) -> str | None:
    return next((vr for mask, value, vr in _repeaters() if tag & mask == value), None)
