"""Identifiers of queries and their answers (PS3.4 Annex C): data sets as DICOM JSON, and as the search's parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nearframe.dicom.build import build_data_set
from nearframe.dicom.charset import UTF_8
from nearframe.dicom.dicomjson import to_json
from nearframe.dicom.element import DataSet
from nearframe.dicom.filemeta import file_meta
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource
from nearframe.dicom.transfersyntax import transfer_syntax
from nearframe.errors import MalformedDICOM
from nearframe.units import MIB

QUERY_RETRIEVE_LEVEL: Final = "00080052"
RETRIEVE_AE_TITLE: Final = "00080054"
_SPECIFIC_CHARACTER_SET: Final = "00080005"
#: Of the protocol, not of what is searched.
_NOT_KEYS: Final = frozenset({QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, _SPECIFIC_CHARACTER_SET})
_LIMITS: Final = Limits(max_instance_bytes=2 * MIB, max_elements=10_000, max_parse_seconds=2.0)
#: Of a list of instances: 20 000 of them, each with its class.
MAX_LIST_BYTES: Final = 4 * MIB
_LIST_LIMITS: Final = Limits(max_instance_bytes=5 * MIB, max_elements=100_000, max_parse_seconds=5.0)


#: PS3.5 section 9.1, and letters, which some writers use. What has anything else in it is no identifier of an object.
_UID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.]{0,63}")


def is_uid(text: str) -> bool:
    """Return whether a text names one object: it is no list, and no pattern."""
    return _UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Query:
    """The identifier of a query.

    Attributes
    ----------
    character_sets
        Values of its Specific Character Set, and so what the asker can read; none is ASCII.
    """

    identifier: DICOMJSON
    character_sets: tuple[str, ...]


def read_identifier(data: bytes, transfer_syntax_uid: str) -> DICOMJSON:
    """Read an identifier, its texts in whatever character set it names.

    Raises
    ------
    MalformedDICOM
        If it is no data set in this transfer syntax.
    LimitExceeded
        If it is larger or deeper than a query can be.
    """
    return _read(data, transfer_syntax_uid, _LIMITS)


def read_query(data: bytes, transfer_syntax_uid: str) -> Query:
    """Read the identifier of a query; raises as `read_identifier`."""
    dataset = _parsed(data, transfer_syntax_uid, _LIMITS)
    asked = dataset.text(int(_SPECIFIC_CHARACTER_SET, 16))
    return Query(to_json(dataset, set()), tuple(asked.split("\\")) if asked else ())


def read_list(data: bytes, transfer_syntax_uid: str) -> DICOMJSON:
    """Read a data set that may name thousands of instances; raises as `read_identifier`. Takes time."""
    return _read(data, transfer_syntax_uid, _LIST_LIMITS)


def write_identifier(document: DICOMJSON, transfer_syntax_uid: str, character_sets: Sequence[str] = (UTF_8,)) -> bytes:
    """Write an identifier, in these character sets if they have all of its texts, else in UTF-8."""
    implicit_vr = transfer_syntax(transfer_syntax_uid).implicit_vr
    try:
        return build_data_set(document, implicit_vr=implicit_vr, character_sets=character_sets)
    except MalformedDICOM:
        return build_data_set(document, implicit_vr=implicit_vr)


def keys_of(identifier: DICOMJSON) -> list[tuple[str, str]]:
    """Return the keys of a query as the parameters that a search by DICOMweb has (PS3.18 section 8.3.4)."""
    return [key for tag, element in identifier.items() if tag not in _NOT_KEYS for key in _keys(tag, element)]


def answer_of(identifier: DICOMJSON, found: DICOMJSON) -> DICOMJSON:
    """Return what was asked for, of what was found; empty where there is nothing (PS3.4 section C.4.1.1.3.2)."""
    empty = {tag: {"vr": element["vr"]} for tag, element in identifier.items()}
    shown = {tag: found[tag] for tag in empty if tag in found}
    kept = {tag: identifier[tag] for tag in (QUERY_RETRIEVE_LEVEL,) if tag in identifier}
    return {**empty, **shown, **kept}


def text_of(identifier: DICOMJSON, tag: str) -> str:
    """Return the first value of an element as text, empty if there is none."""
    values = identifier.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _read(data: bytes, transfer_syntax_uid: str, limits: Limits) -> DICOMJSON:
    return to_json(_parsed(data, transfer_syntax_uid, limits), set())


def _parsed(data: bytes, transfer_syntax_uid: str, limits: Limits) -> DataSet:
    return parse(BytesSource(file_meta("", "", transfer_syntax_uid) + data), limits).dataset


def _keys(path: str, element: dict[str, Any]) -> Iterator[tuple[str, str]]:
    values = element.get("Value") or []
    if element.get("vr") == "SQ":
        yield path, ""
        for item in values[:1]:  # a query has one item (PS3.4 section C.2.2.2.6)
            for tag, inner in (item or {}).items():
                yield from _keys(f"{path}.{tag}", inner)
    else:
        yield path, "\\".join(_text(value) for value in values)


def _text(value: Any) -> str:
    if isinstance(value, dict):  # a person's name
        return "=".join(str(value.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    return "" if value is None else str(value)
