"""Making a Part 10 file of metadata and bulk data (PS3.18 section 10.5, Store transaction).

The file is Explicit VR Little Endian, or an encapsulated transfer syntax. Its text is
UTF-8. Bulk values are not copied: they are read from their sources while the file is
written.
"""

from __future__ import annotations

import binascii
import struct
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite
from typing import Any, Final, TypeAlias

from nearframe.dicom.bulk import PIXEL_DATA_TAGS
from nearframe.dicom.charset import UTF_8, CharacterSet
from nearframe.dicom.dicomjson import SPECIFIC_CHARACTER_SET
from nearframe.dicom.element import UNDEFINED_LENGTH
from nearframe.dicom.elementbytes import element_bytes, element_header
from nearframe.dicom.filemeta import file_meta
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import DICOMJSON, Slice, Source
from nearframe.dicom.source import read_slices
from nearframe.dicom.transfersyntax import ExplicitVRLittleEndian, transfer_syntax
from nearframe.dicom.vr import KNOWN, NUMERIC
from nearframe.errors import LimitExceeded, MalformedDICOM, MissingIdentifier

#: Finds what a BulkDataURI names: one source, or one for each frame of encapsulated pixel data.
BulkLookup: TypeAlias = Callable[[str], Sequence[Source]]
#: Writes text in a character set.
TextEncoder: TypeAlias = Callable[[str], bytes]

_MAX_DECIMAL_CHARACTERS: Final = 16  # VR DS
_NOT_FINITE: Final = {"NaN": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """A file that is ready to be written."""

    parts: tuple[bytes | Source, ...]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(len(part) if isinstance(part, bytes) else part.size for part in self.parts)

    def chunks(self) -> Iterator[bytes]:
        """Yield the file's bytes in chunks of bounded size."""
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from read_slices(part, (Slice(0, part.size),))


def build(
    metadata: DICOMJSON,
    bulk: BulkLookup,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    limits: Limits | None = None,
) -> BuiltFile:
    """Make a file.

    Parameters
    ----------
    metadata
        DICOM JSON of one instance, see `dicomxml.from_xml` for XML.
    bulk
        Finds bulk values. What it returns is read when the file is written.

    Raises
    ------
    MalformedDICOM
        If a value does not fit its VR, a bulk value is missing, or the transfer syntax
        cannot be written.
    MissingIdentifier
        If there is no SOP Class UID or SOP Instance UID.
    LimitExceeded
        If sequences nest too deep.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.implicit_vr or syntax.big_endian or syntax.deflated:
        raise MalformedDICOM("metadata and bulk data are stored in Explicit VR Little Endian or encapsulated")
    writer = _Writer(bulk, is_encapsulated=syntax.encapsulated, limits=limits or Limits())
    writer.literal(_meta(metadata, transfer_syntax_uid))
    writer.dataset(metadata, depth=0)
    return BuiltFile(tuple(writer.parts()))


def build_data_set(metadata: DICOMJSON, *, implicit_vr: bool, character_sets: Sequence[str] = (UTF_8,)) -> bytes:
    """Return a data set without bulk data, in Little Endian: the identifier of a query, or of its answer.

    Parameters
    ----------
    character_sets
        The values of Specific Character Set to write in; none for ASCII.

    Raises
    ------
    MalformedDICOM
        If a value cannot be written, or a text has characters that these sets have not.
    """
    writer = _Writer(
        nothing,
        is_encapsulated=False,
        limits=Limits(),
        implicit_vr=implicit_vr,
        character_sets=character_sets,
        encode=CharacterSet(tuple(character_sets)).encode,
    )
    writer.dataset(metadata, depth=0)
    return b"".join(part for part in writer.parts() if isinstance(part, bytes))


def build_element(tag: int, attribute: DICOMJSON, encode: TextEncoder, *, implicit_vr: bool) -> bytes:
    """Return one element without bulk data, in Little Endian.

    Parameters
    ----------
    encode
        Writes text in the character set of the data set that the element is for.

    Raises
    ------
    MalformedDICOM
        If a value cannot be written.
    """
    writer = _Writer(nothing, is_encapsulated=False, limits=Limits(), implicit_vr=implicit_vr, encode=encode)
    writer.attribute(tag, attribute, depth=0)
    return b"".join(part for part in writer.parts() if isinstance(part, bytes))


def nothing(uri: str) -> Sequence[Source]:
    """Find no bulk value: for metadata that needs none."""
    return ()


def _meta(metadata: DICOMJSON, transfer_syntax_uid: str) -> bytes:
    sop_class_uid = _identifier(metadata, "00080016", "SOPClassUID")
    return file_meta(sop_class_uid, _identifier(metadata, "00080018", "SOPInstanceUID"), transfer_syntax_uid)


def _identifier(metadata: DICOMJSON, key: str, keyword: str) -> str:
    attribute = metadata.get(key)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    if not isinstance(values, list) or not values or not isinstance(values[0], str):
        raise MissingIdentifier(keyword)
    return values[0]


class _Writer:
    """Collects the parts of a file: literals, joined, and sources."""

    def __init__(
        self,
        bulk: BulkLookup,
        *,
        is_encapsulated: bool,
        limits: Limits,
        implicit_vr: bool = False,
        character_sets: Sequence[str] = (UTF_8,),
        encode: TextEncoder = str.encode,
    ) -> None:
        self._bulk = bulk
        self._character_sets = list(character_sets)
        self._implicit_vr = implicit_vr
        self._encode = encode
        self._is_encapsulated = is_encapsulated
        self._max_nesting = limits.max_nesting
        self._parts: list[bytes | Source] = []
        self._literals: list[bytes] = []

    def parts(self) -> list[bytes | Source]:
        """Return what was collected."""
        self._flush()
        return self._parts

    def literal(self, data: bytes) -> None:
        self._literals.append(data)

    def source(self, source: Source) -> None:
        """Add a value from a source, padded to even length."""
        self._flush()
        self._parts.append(source)
        if source.size % 2:
            self.literal(b"\0")

    def _element(self, tag: int, vr: str, value: bytes) -> None:
        self.literal(element_bytes(tag, vr, value, implicit_vr=self._implicit_vr))

    def _header(self, tag: int, vr: str, length: int) -> None:
        self.literal(element_header(tag, vr, length, implicit_vr=self._implicit_vr))

    def _flush(self) -> None:
        if self._literals:
            self._parts.append(b"".join(self._literals))
            self._literals = []

    def dataset(self, metadata: DICOMJSON, depth: int) -> None:
        """Add the elements of a data set, ascending."""
        if depth > self._max_nesting:
            raise LimitExceeded("max_nesting", self._max_nesting)
        rows = {_tag(key): attribute for key, attribute in metadata.items()}
        rows.pop(SPECIFIC_CHARACTER_SET, None)
        if depth == 0 and self._character_sets:
            # Whatever the metadata said of itself.
            rows[SPECIFIC_CHARACTER_SET] = {"vr": "CS", "Value": self._character_sets}
        for tag, attribute in sorted(rows.items(), key=lambda row: row[0]):
            if tag >> 16 != 0x0002 and tag & 0xFFFF:
                self.attribute(tag, attribute, depth)

    def attribute(self, tag: int, attribute: Any, depth: int) -> None:
        """Add an element."""
        vr = attribute.get("vr") if isinstance(attribute, dict) else None
        if not isinstance(vr, str) or vr not in KNOWN:
            raise MalformedDICOM(f"element {tag:08X} has no VR that exists")
        if "BulkDataURI" in attribute:
            self._bulk_value(tag, vr, attribute["BulkDataURI"], depth)
        elif "InlineBinary" in attribute:
            self._element(tag, vr, _inline(tag, attribute["InlineBinary"]))
        elif vr == "SQ":
            self._sequence(tag, attribute.get("Value") or [], depth)
        else:
            self._element(tag, vr, _encoded(tag, vr, attribute.get("Value") or [], self._encode))

    def _sequence(self, tag: int, items: Any, depth: int) -> None:
        if not isinstance(items, list) or not all(item is None or isinstance(item, dict) for item in items):
            raise MalformedDICOM(f"the items of sequence {tag:08X} are no data sets")
        if not items:
            self._element(tag, "SQ", b"")
            return
        self._header(tag, "SQ", UNDEFINED_LENGTH)
        for item in items:
            self.literal(_ITEM_OPEN)
            self.dataset(item or {}, depth + 1)
            self.literal(_ITEM_CLOSE)
        self.literal(_SEQUENCE_CLOSE)

    def _bulk_value(self, tag: int, vr: str, uri: Any, depth: int) -> None:
        sources = self._bulk(uri) if isinstance(uri, str) else ()
        if not sources:
            raise MalformedDICOM(f"the bulk data of element {tag:08X} is not in the request")
        if depth == 0 and tag in PIXEL_DATA_TAGS and self._is_encapsulated:
            self._fragments(tag, sources)
            return
        if len(sources) > 1:
            raise MalformedDICOM(f"the bulk data of element {tag:08X} is not one value")
        self._header(tag, vr, sources[0].size + sources[0].size % 2)
        self.source(sources[0])

    def _fragments(self, tag: int, frames: Sequence[Source]) -> None:
        """Add encapsulated pixel data: one fragment a frame (PS3.5 Annex A.4)."""
        self._header(tag, "OB", UNDEFINED_LENGTH)
        offsets = list(accumulate((8 + frame.size + frame.size % 2 for frame in frames[:-1]), initial=0))
        table = struct.pack(f"<{len(offsets)}L", *offsets) if offsets[-1] < 2**32 else b""
        self.literal(_item(len(table)) + table)
        for frame in frames:
            self.literal(_item(frame.size + frame.size % 2))
            self.source(frame)
        self.literal(_SEQUENCE_CLOSE)


# -- elements ------------------------------------------------------------------------------

_ITEM_OPEN = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED_LENGTH)
_ITEM_CLOSE = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
_SEQUENCE_CLOSE = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def _item(length: int) -> bytes:
    if length >= UNDEFINED_LENGTH:
        raise MalformedDICOM("a frame is longer than a fragment can be")
    return struct.pack("<HHL", 0xFFFE, 0xE000, length)


def _tag(key: str) -> int:
    if len(key) != 8 or not all(c in "0123456789ABCDEFabcdef" for c in key) or key[:4].upper() >= "FFFE":
        raise MalformedDICOM("an attribute's name is no tag")
    return int(key, 16)


def _inline(tag: int, text: Any) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise MalformedDICOM(f"the InlineBinary of element {tag:08X} is no base64") from error


def _encoded(tag: int, vr: str, values: Any, encode: TextEncoder) -> bytes:
    """Return the values of an element as PS3.5 writes them."""
    try:
        if not isinstance(values, list):
            raise TypeError
        if vr in NUMERIC:
            return b"".join(_packed(vr, value) for value in values)
        if vr == "AT":
            return b"".join(struct.pack("<HH", *divmod(int(value, 16), 0x10000)) for value in values)
        return encode("\\".join(_text(vr, value) for value in values))
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        raise MalformedDICOM(f"a value of element {tag:08X} does not fit its VR {vr}") from error


def _packed(vr: str, value: Any) -> bytes:
    code, _ = NUMERIC[vr]
    if vr in ("FD", "FL"):
        return struct.pack(f"<{code}", _NOT_FINITE[value] if value in _NOT_FINITE else float(value))
    return struct.pack(f"<{code}", int(value))


def _text(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if vr == "PN" and isinstance(value, dict):
        return "=".join(value.get(label, "") for label in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    if vr in ("DS", "IS") and isinstance(value, (int, float)):
        if not isfinite(value):
            raise ValueError
        return _decimal(value)
    if not isinstance(value, str):
        raise TypeError
    return value


def _decimal(value: float) -> str:
    """Return the shortest text that reads as `value`, or the best of 16 characters (VR DS)."""
    text = repr(value)
    precision = _MAX_DECIMAL_CHARACTERS
    while len(text) > _MAX_DECIMAL_CHARACTERS:
        precision -= 1
        text = f"{value:.{precision}g}"
    return text
