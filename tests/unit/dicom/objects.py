"""Small DICOM files, written byte by byte so that they can be wrong on purpose."""

from __future__ import annotations

import struct
from pathlib import Path

import pydicom.data

from nearframe.dicom.vr import LONG_FORM

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"

UNDEFINED = 0xFFFFFFFF

STUDY = "1.2.3.1"
SERIES = "1.2.3.1.2"
INSTANCE = "1.2.3.1.2.3"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def padded(value: bytes, vr: str) -> bytes:
    return value + (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(value) % 2)


def explicit(tag: int, vr: str, value: bytes = b"", *, length: int | None = None, order: str = "<") -> bytes:
    """Return an element of explicit VR; `length` lies about the value's."""
    length = len(value) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in LONG_FORM:
        return head + b"\0\0" + struct.pack(f"{order}L", length) + value
    return head + struct.pack(f"{order}H", length) + value


def implicit(tag: int, value: bytes = b"", *, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length) + value


def text(tag: int, vr: str, value: str, order: str = "<") -> bytes:
    return explicit(tag, vr, padded(value.encode("ascii"), vr), order=order)


def us(tag: int, value: int, order: str = "<") -> bytes:
    return explicit(tag, "US", struct.pack(f"{order}H", value), order=order)


def item(value: bytes = b"", *, length: int | None = None) -> bytes:
    return implicit(0xFFFEE000, value, length=length)


ITEM_END = implicit(0xFFFEE00D)
SEQUENCE_END = implicit(0xFFFEE0DD)


def meta(transfer_syntax_uid: str | None = EXPLICIT) -> bytes:
    """Return preamble, prefix and File Meta Information."""
    group = explicit(0x00020001, "OB", b"\0\1") + text(0x00020002, "UI", SECONDARY_CAPTURE)
    group += text(0x00020003, "UI", INSTANCE)
    if transfer_syntax_uid is not None:
        group += text(0x00020010, "UI", transfer_syntax_uid)
    return bytes(128) + b"DICM" + explicit(0x00020000, "UL", struct.pack("<L", len(group))) + group


def identifiers(order: str = "<", *, sop_instance_uid: str = INSTANCE) -> bytes:
    """Return the elements up to group 0020 that place an instance."""
    return (
        text(0x00080016, "UI", SECONDARY_CAPTURE, order)
        + (text(0x00080018, "UI", sop_instance_uid, order) if sop_instance_uid else b"")
        + text(0x00100010, "PN", "Doe^Jane", order)
        + text(0x0020000D, "UI", STUDY, order)
        + text(0x0020000E, "UI", SERIES, order)
    )


def picture(rows: int, columns: int, *, bits: int = 8, frames: int = 1, order: str = "<") -> bytes:
    """Return the elements of group 0028."""
    return (
        us(0x00280002, 1, order)
        + text(0x00280004, "CS", "MONOCHROME2", order)
        + text(0x00280008, "IS", str(frames), order)
        + us(0x00280010, rows, order)
        + us(0x00280011, columns, order)
        + us(0x00280100, bits, order)
        + us(0x00280101, bits, order)
        + us(0x00280102, bits - 1, order)
        + us(0x00280103, 0, order)
    )


def native(pixels: bytes, *, rows: int, columns: int, bits: int = 8, frames: int = 1) -> bytes:
    """Return a whole native object."""
    vr = "OW" if bits > 8 else "OB"
    return meta() + identifiers() + picture(rows, columns, bits=bits, frames=frames) + explicit(0x7FE00010, vr, pixels)


def encapsulated(
    fragments: list[bytes], *, frames: int = 1, offset_table: list[int] | None = None, syntax: str = JPEG
) -> bytes:
    """Return a whole encapsulated object."""
    table = struct.pack(f"<{len(offset_table or [])}L", *(offset_table or []))
    value = item(table) + b"".join(item(fragment) for fragment in fragments) + SEQUENCE_END
    pixel_data = explicit(0x7FE00010, "OB", value, length=UNDEFINED)
    return meta(syntax) + identifiers() + picture(4, 4, frames=frames) + pixel_data


def packaged() -> list[Path]:
    """Return the files that pydicom's own wheel carries."""
    folder = Path(pydicom.data.__file__).parent
    return sorted([*(folder / "test_files").rglob("*.dcm"), *(folder / "charset_files").rglob("*.dcm")])
