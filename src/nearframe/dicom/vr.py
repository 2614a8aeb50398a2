"""Value representations (PS3.5 section 6.2): how each is framed and what it holds."""

from __future__ import annotations

#: Explicit VR with two reserved bytes and a 32-bit length (PS3.5 Table 7.1-1).
LONG_FORM = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})

#: Explicit VR with a 16-bit length (PS3.5 Table 7.1-2).
SHORT_FORM = frozenset(
    {
        *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM"),
        *("UI", "UL", "US"),
    }
)

KNOWN = LONG_FORM | SHORT_FORM

#: The two bytes in the file -> the VR, as one shared string.
FROM_CODE: dict[bytes, str] = {vr.encode(): vr for vr in sorted(KNOWN)}

#: Strings of bytes or words: InlineBinary or BulkDataURI in DICOM JSON (PS3.18 F.2.7).
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})

#: VRs whose large values are stored as pieces of their own: binary, and arrays that may be long.
BULKY = BINARY | {"FD", "FL", "SL", "SS", "SV", "UC", "UL", "US", "UT", "UV"}

#: struct code and size of one value.
NUMERIC: dict[str, tuple[str, int]] = {
    "FD": ("d", 8),
    "FL": ("f", 4),
    "SL": ("i", 4),
    "SS": ("h", 2),
    "SV": ("q", 8),
    "UL": ("I", 4),
    "US": ("H", 2),
    "UV": ("Q", 8),
}

#: Bytes of one word of the binary VRs: what changes order with the byte order.
WORD_BYTES = {"OB": 1, "UN": 1, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}

#: VRs whose value depends on the byte order.
ORDERED = frozenset({*NUMERIC, "AT", "OD", "OF", "OL", "OV", "OW"})

#: Decoded by Specific Character Set (PS3.5 section 6.1.2.3).
CHARSET_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})

#: One value always: a backslash is a character of the text (PS3.5 Table 6.2-1).
SINGLE_VALUED_TEXT = frozenset({"LT", "ST", "UR", "UT"})
