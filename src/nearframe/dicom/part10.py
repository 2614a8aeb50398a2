"""Parsing a DICOM file (PS3.10 section 7) without trusting it.

`parse` is the guard: whatever it returns has been checked for sizes, nesting, counts and
ratios, and costs memory in proportion to the header alone. Tolerated, with a note: a
missing preamble, meta group or transfer syntax, an encoding other than the declared one,
VRs that do not exist, wrong group lengths, bytes behind the data set.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from nearframe.dicom import notes, vr
from nearframe.dicom.element import DataSet, Encoding, Part10
from nearframe.dicom.inflate import inflate
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import Source
from nearframe.dicom.transfersyntax import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    transfer_syntax,
)
from nearframe.dicom.walker import Walker
from nearframe.dicom.window import Window
from nearframe.errors import LimitExceeded, MalformedDICOM

_SYNTAX = {
    Encoding.IMPLICIT_LITTLE: ImplicitVRLittleEndian,
    Encoding.EXPLICIT_LITTLE: ExplicitVRLittleEndian,
    Encoding.EXPLICIT_BIG: ExplicitVRBigEndian,
}

_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_META_GROUP = b"\2\0"
_TRANSFER_SYNTAX_UID = 0x00020010
_META_LENGTH = 0x00020000

#: The first group of a data set that comes without meta group: commands, directories, identifiers, patient.
_HIGHEST_FIRST_GROUP = 0x0010


def parse(source: Source, limits: Limits | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> Part10:
    """Find the elements of a file.

    Raises
    ------
    MalformedDICOM
        If it is not DICOM, or a declared length is not present.
    LimitExceeded
        If it would cost more than `limits` allow.
    """
    limits = limits or Limits()
    if source.size > limits.max_instance_bytes:
        raise LimitExceeded("max_instance_bytes", limits.max_instance_bytes, source.size)
    found: set[str] = set()
    window = Window(source, limits.max_header_bytes)
    meta, dataset_offset = _read_meta(source, window, limits, found, monotonic)
    transfer_syntax_uid = meta.text(_TRANSFER_SYNTAX_UID)
    is_deflated = transfer_syntax(transfer_syntax_uid).deflated
    start = dataset_offset
    data = source
    if is_deflated:
        data = inflate(source, dataset_offset, limits, found)
        window = Window(data, limits.max_header_bytes)
        start = 0
    encoding = _encoding(window, start, transfer_syntax_uid, found)
    elements, end = Walker(window, limits, found, monotonic=monotonic).walk(start, encoding)
    if end < window.size:
        found.add(notes.TRAILING_BYTES)
    return Part10(
        source=source,
        meta=meta,
        dataset=DataSet(data, window.head, encoding, elements, end),
        dataset_offset=dataset_offset,
        transfer_syntax_uid=transfer_syntax_uid or _SYNTAX[encoding],
        is_deflated=is_deflated,
        notes=tuple(sorted(found)),
    )


def _read_meta(
    source: Source, window: Window, limits: Limits, found: set[str], monotonic: Callable[[], float]
) -> tuple[DataSet, int]:
    """Read the File Meta Information: explicit VR little endian always (PS3.10 section 7.1)."""
    window.cover(0, _PREAMBLE_BYTES + 16)
    start = _after_prefix(window.data, found)
    if window.data[start : start + 2] != _META_GROUP:
        found.add(notes.NO_META_HEADER)
        return DataSet(source, window.head, Encoding.EXPLICIT_LITTLE, [], start), start
    walker = Walker(window, limits, found, only_group=0x0002, monotonic=monotonic)
    elements, end = walker.walk(start, Encoding.EXPLICIT_LITTLE)
    meta = DataSet(source, window.head, Encoding.EXPLICIT_LITTLE, elements, end)
    length = meta.by_tag.get(_META_LENGTH)
    if length is None or length.end + int.from_bytes(meta.value(length)[:4], "little") != end:
        # The group is read to its last element, whatever its length says.
        found.add(notes.WRONG_META_LENGTH)
    if not meta.text(_TRANSFER_SYNTAX_UID):
        found.add(notes.NO_TRANSFER_SYNTAX)
    return meta, end


def _after_prefix(data: bytes, found: set[str]) -> int:
    if data[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == _PREFIX:
        return _PREAMBLE_BYTES + 4
    found.add(notes.NO_PREAMBLE)
    return 4 if data[:4] == _PREFIX else 0


def _encoding(window: Window, start: int, transfer_syntax_uid: str, found: set[str]) -> Encoding:
    """Return how the data set is encoded: as declared, unless its first element shows otherwise."""
    window.cover(start, 8)
    first = window.data[start - window.start :][:8]
    declared = _declared(transfer_syntax_uid)
    if len(first) < 8:
        return declared
    if not transfer_syntax_uid:
        return _guess(first, notes.NO_META_HEADER in found)
    code = first[4:6]
    if declared is Encoding.IMPLICIT_LITTLE and code in vr.FROM_CODE:
        actual = Encoding.EXPLICIT_LITTLE
    elif declared is not Encoding.IMPLICIT_LITTLE and not code.isalpha():
        actual = Encoding.IMPLICIT_LITTLE
    else:
        return declared
    found.add(notes.WRONG_ENCODING)
    return actual


def _declared(transfer_syntax_uid: str) -> Encoding:
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.implicit_vr:
        return Encoding.IMPLICIT_LITTLE
    return Encoding.EXPLICIT_BIG if syntax.big_endian else Encoding.EXPLICIT_LITTLE


def _guess(first: bytes, is_bare: bool) -> Encoding:
    """Guess the encoding from the first element: its group is a small number in the right byte order."""
    little, big = (int.from_bytes(first[:2], order) for order in ("little", "big"))
    if is_bare and min(little, big) > _HIGHEST_FIRST_GROUP:
        raise MalformedDICOM("this is not a DICOM file: no prefix, and no element to begin with", offset=0)
    if first[4:6] not in vr.FROM_CODE:
        return Encoding.IMPLICIT_LITTLE
    return Encoding.EXPLICIT_LITTLE if little <= big else Encoding.EXPLICIT_BIG
