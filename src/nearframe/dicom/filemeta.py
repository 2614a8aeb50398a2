"""File Meta Information as we write it (PS3.10 section 7.1)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from nearframe.dicom.elementbytes import element_bytes

#: Derived once from a random UUID (PS3.5 B.2): names this implementation in files and associations.
IMPLEMENTATION_CLASS_UID: Final = "2.25.174324967290533829383605456662321411832"
IMPLEMENTATION_VERSION_NAME: Final = "NEARFRAME"

_GROUP_LENGTH: Final = 0x00020000
_VERSION: Final = 0x00020001
_SOP_CLASS: Final = 0x00020002
_SOP_INSTANCE: Final = 0x00020003
_TRANSFER_SYNTAX: Final = 0x00020010
_IMPLEMENTATION_CLASS: Final = 0x00020012
_IMPLEMENTATION_VERSION: Final = 0x00020013


def file_meta(
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    others: Mapping[int, tuple[str, bytes]] | None = None,
) -> bytes:
    """Return preamble, prefix and File Meta Information of a file that we write.

    Parameters
    ----------
    others
        Further elements by tag, as VR and value; what is said by the arguments, and who wrote
        the file, is said by us.
    """
    values = {
        _VERSION: ("OB", b"\0\1"),
        **(others or {}),
        _SOP_CLASS: ("UI", sop_class_uid.encode("ascii", "replace")),
        _SOP_INSTANCE: ("UI", sop_instance_uid.encode("ascii", "replace")),
        _TRANSFER_SYNTAX: ("UI", transfer_syntax_uid.encode("ascii", "replace")),
        _IMPLEMENTATION_CLASS: ("UI", IMPLEMENTATION_CLASS_UID.encode()),
        _IMPLEMENTATION_VERSION: ("SH", IMPLEMENTATION_VERSION_NAME.encode()),
    }
    values.pop(_GROUP_LENGTH, None)
    group = b"".join(element_bytes(tag, *values[tag]) for tag in sorted(values))
    return bytes(128) + b"DICM" + element_bytes(_GROUP_LENGTH, "UL", struct.pack("<I", len(group))) + group
