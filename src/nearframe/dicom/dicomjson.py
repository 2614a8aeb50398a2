"""The DICOM JSON model (PS3.18 Annex F) of a parsed data set.

Straight from the parsed elements to plain dictionaries: no intermediate data set. Group
lengths and trailing padding are left out (they describe the file, not the object), and
Specific Character Set says ISO_IR 192, which is what JSON text is.

Where binary values go: up to `INLINE_MAX_BYTES` into ``InlineBinary``, in little endian
order as PS3.18 F.2.7 wants it; larger ones behind a ``BulkDataURI`` relative to the
instance, ``bulkdata/<tag>`` or ``bulkdata/<tag>/<item index>/<tag>``.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from functools import lru_cache
from math import isfinite, isnan
from struct import unpack
from typing import Any, Final

from nearframe.dicom import notes
from nearframe.dicom.bulk import BULK_ROOT, PIXEL_DATA_TAGS, is_cut
from nearframe.dicom.charset import CharacterSet, character_set
from nearframe.dicom.element import DataSet, Element, Encoding, Item
from nearframe.dicom.limits import INLINE_MAX_BYTES
from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.vr import BINARY, NUMERIC, WORD_BYTES

SPECIFIC_CHARACTER_SET: Final = 0x00080005
_TRAILING_PADDING: Final = 0xFFFCFFFC
_PN_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")

#: A longer text is kept as text: DS has 16 characters, IS 12, and Python reads 4300 digits at most.
_MAX_NUMBER_CHARACTERS: Final = 64

#: Short values repeat from slice to slice of a series.
_REPEATED_BYTES: Final = 80

_key = lru_cache(maxsize=65536)("{:08X}".format)


def to_json(dataset: DataSet, found: set[str]) -> DICOMJSON:
    """Return the DICOM JSON object of a data set; codes of oddities are added to `found`."""
    encoder = _Encoder(dataset, found)
    return encoder.encode(dataset.elements, dataset.encoding, CharacterSet(()), BULK_ROOT)


class _Encoder:
    """Encodes one data set. Values are read from the head where possible."""

    def __init__(self, dataset: DataSet, found: set[str]) -> None:
        self._dataset = dataset
        self._found = found

    def encode(self, elements: list[Element], encoding: Encoding, charset: CharacterSet, path: str) -> DICOMJSON:
        """Encode a data set: the top one, or an item; `path` leads its bulk data URIs."""
        head, head_bytes = self._dataset.head, len(self._dataset.head)
        is_top = path == BULK_ROOT
        out: DICOMJSON = {}
        order = encoding.order
        for element in elements:
            tag, vr, length = element.tag, element.vr, element.length
            if tag & 0xFFFF == 0 or tag == _TRAILING_PADDING:
                continue
            key = _key(tag)
            items = element.items
            if items is not None:
                out[key] = self._sequence(items, charset, f"{path}{key}/")
                continue
            if length == 0:
                out[key] = {"vr": vr}
                continue
            if self._is_elsewhere(element, is_top):
                out[key] = {"vr": vr, "BulkDataURI": path + key}
                continue
            start = element.value_offset
            stop = start + length
            raw = head[start:stop] if stop <= head_bytes else self._dataset.value(element)
            decode = _DECODERS.get(vr)
            if decode is not None:
                plain = length <= _REPEATED_BYTES and raw.isascii() and b"\x1b" not in raw
                out[key] = _repeated(vr, raw) if plain else decode(vr, raw, charset)
            elif vr == "DS" or vr == "IS":
                plain = length <= _REPEATED_BYTES and raw.isascii() and b"\x1b" not in raw
                out[key], is_read = _repeated_numbers(vr, raw) if plain else _number_strings(vr, charset.decode(raw))
                if not is_read:
                    self._found.add(notes.UNREADABLE_VALUE)
            elif vr in NUMERIC or vr == "AT":
                out[key] = self._numbers(vr, raw, order)
            else:
                out[key] = {"vr": vr, "InlineBinary": _base64(vr, raw, order)}
            if tag == SPECIFIC_CHARACTER_SET:
                charset = character_set(raw)
                out[key] = {"vr": "CS", "Value": ["ISO_IR 192"]}
        if charset.misfits:
            self._found.add(notes.WRONG_CHARACTER_SET)
        return out

    def _sequence(self, items: list[Item], charset: CharacterSet, path: str) -> dict[str, Any]:
        if not items:
            return {"vr": "SQ"}
        return {
            "vr": "SQ",
            "Value": [
                self.encode(item.elements, item.encoding, charset, f"{path}{index}/")
                for index, item in enumerate(items)
            ],
        }

    def _is_elsewhere(self, element: Element, is_top: bool) -> bool:
        if element.length <= INLINE_MAX_BYTES:
            return element.fragments is not None or (is_top and element.tag in PIXEL_DATA_TAGS)
        return (
            element.vr in BINARY or element.fragments is not None or is_cut(element) or element.tag in PIXEL_DATA_TAGS
        )

    def _numbers(self, vr: str, raw: bytes, order: str) -> dict[str, Any]:
        if vr == "AT":
            values: list[Any] = [f"{a:04X}{b:04X}" for a, b in _pairs(raw, order)]
            return {"vr": vr, "Value": values}
        code, size = NUMERIC[vr]
        count, rest = divmod(len(raw), size)
        if rest:
            self._found.add(notes.UNREADABLE_VALUE)
            return {"vr": "UN", "InlineBinary": b64encode(raw).decode("ascii")}
        values = list(unpack(f"{order}{count}{code}", raw))
        if vr in ("FL", "FD") and not all(map(isfinite, values)):
            values = [value if isfinite(value) else _not_finite(value) for value in values]
        return {"vr": vr, "Value": values}


def _pairs(raw: bytes, order: str) -> list[tuple[int, int]]:
    words = unpack(f"{order}{len(raw) // 4 * 2}H", raw[: len(raw) // 4 * 4])
    return list(zip(words[::2], words[1::2], strict=True))


def _not_finite(value: float) -> str:
    # PS3.18 F.2.3: what JSON numbers cannot say.
    if isnan(value):
        return "NaN"
    return "inf" if value > 0 else "-inf"


def _base64(vr: str, raw: bytes, order: str) -> str:
    size = WORD_BYTES.get(vr, 1)
    if order == ">" and size > 1:
        raw = swap_words(raw, size)
    return b64encode(raw).decode("ascii")


def swap_words(raw: bytes, size: int) -> bytes:
    """Return `raw` with the byte order of each word of `size` bytes reversed; an odd end stays."""
    whole = len(raw) // size * size
    out = bytearray(raw)
    for at in range(size):
        out[at:whole:size] = raw[size - 1 - at : whole : size]
    return bytes(out)


# -- text ----------------------------------------------------------------------------------


def _code(vr: str, raw: bytes, charset: CharacterSet) -> dict[str, Any]:
    """Codes, dates, times, UIDs: default repertoire, blanks on both sides mean nothing."""
    text = raw.decode("ascii") if raw.isascii() else charset.decode(raw)
    if "\\" in text:
        return _multiple(vr, [_ended(part.strip("\0 ")) or None for part in text.split("\\")])
    text = _ended(text.strip("\0 "))
    return {"vr": vr, "Value": [text]} if text else {"vr": vr}


def _text(vr: str, raw: bytes, charset: CharacterSet) -> dict[str, Any]:
    """Text of several values; trailing blanks mean nothing (PS3.5 section 6.2)."""
    text = charset.decode(raw)
    if "\\" in text:
        return _multiple(vr, [_ended(part.rstrip("\0 ")) or None for part in text.split("\\")])
    text = _ended(text.rstrip("\0 "))
    return {"vr": vr, "Value": [text]} if text else {"vr": vr}


def _long_text(vr: str, raw: bytes, charset: CharacterSet) -> dict[str, Any]:
    text = _ended(charset.decode(raw).rstrip("\0 "))
    return {"vr": vr, "Value": [text]} if text else {"vr": vr}


def _ended(text: str) -> str:
    """Return what stands before a NUL: behind it, some writers leave what was in a buffer."""
    return text.partition("\0")[0].rstrip(" ") if "\0" in text else text


def _number_strings(vr: str, text: str) -> tuple[dict[str, Any], bool]:
    """Return DS or IS values, and whether every one of them is a number."""
    read = as_integer if vr == "IS" else as_number
    values = [read(_ended(part.strip("\0 "))) for part in text.split("\\")]
    return _multiple(vr, values), not any(type(value) is str for value in values)


def as_integer(text: str) -> int | str | None:
    """Return a number where `text` is one, else the text: PS3.18 F.2.3 allows both for DS and IS."""
    if "_" in text or len(text) > _MAX_NUMBER_CHARACTERS:
        return text
    try:
        return int(text)
    except ValueError:
        return text or None


def as_number(text: str) -> float | str | None:
    """Return a number where `text` is a finite one, else the text."""
    if "_" in text or len(text) > _MAX_NUMBER_CHARACTERS:
        return text
    if text.isdigit() and text.isascii():
        return int(text)
    try:
        number = float(text)
    except ValueError:
        number = None
    return (text or None) if number is None or not isfinite(number) else number


def _person_name(vr: str, raw: bytes, charset: CharacterSet) -> dict[str, Any]:
    return _multiple(vr, [_name_groups(name) or None for name in charset.decode(raw).split("\\")])


def _name_groups(name: str) -> dict[str, str]:
    """Return the component groups of a name that are not empty (PS3.5 section 6.2.1)."""
    groups = [_ended(group.strip("\0 ")) for group in name.split("=")[:3]]
    return {label: group for label, group in zip(_PN_GROUPS, groups, strict=False) if group}


def _multiple(vr: str, values: list[Any]) -> dict[str, Any]:
    # PS3.18 F.2.5: an empty value among others is null; no value at all has no "Value".
    if any(value is not None for value in values):
        return {"vr": vr, "Value": values}
    return {"vr": vr}


_DECODERS: Final[dict[str, Callable[[str, bytes, CharacterSet], dict[str, Any]]]] = {
    **dict.fromkeys(("AE", "AS", "CS", "DA", "DT", "TM", "UI"), _code),
    **dict.fromkeys(("LO", "SH", "UC"), _text),
    **dict.fromkeys(("LT", "ST", "UR", "UT"), _long_text),
    "PN": _person_name,
}

_ASCII: Final = CharacterSet(())


@lru_cache(maxsize=16384)
def _repeated(vr: str, raw: bytes) -> dict[str, Any]:
    """Decode plain ASCII, which means the same in every character set. The result is shared: never change it."""
    return _DECODERS[vr](vr, raw, _ASCII)


@lru_cache(maxsize=16384)
def _repeated_numbers(vr: str, raw: bytes) -> tuple[dict[str, Any], bool]:
    """Likewise for DS and IS."""
    return _number_strings(vr, raw.decode("ascii"))
