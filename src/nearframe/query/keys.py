"""Keys of a query that are a data set (PS3.4 section C.2.2): as tests, and as what is to be shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from nearframe.dicom.model import DICOMJSON
from nearframe.query.matching import parse_test
from nearframe.storage.catalogue.criteria import Criterion

#: Of the protocol, not of what is looked for: character set, level, retrieval.
_NOT_KEYS: Final = frozenset({"00080005", "00080052", "00080053", "00080054"})
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def criteria_of(keys: DICOMJSON, path: tuple[str, ...] = ()) -> Iterator[Criterion]:
    """Yield what the keys ask for; an empty one asks for nothing, of a sequence the first item is the key.

    Raises
    ------
    MalformedRequest
        If a value cannot be one of its VR.
    """
    for tag, key in keys.items():
        if tag in _NOT_KEYS:
            continue
        if key.get("vr") == "SQ":
            yield from criteria_of(first_item(keys, tag), (*path, tag))
        elif (test := parse_test(key.get("vr", "UN"), tag, "\\".join(_texts(key)))) is not None:
            yield Criterion((*path, tag), test)


def shown(keys: DICOMJSON, found: DICOMJSON) -> DICOMJSON:
    """Return what the keys name, of a data set; empty where there is nothing."""
    return {tag: _shown(keys, tag, found) for tag in keys if tag not in _NOT_KEYS}


def _shown(keys: DICOMJSON, tag: str, found: DICOMJSON) -> DICOMJSON:
    vr = keys[tag].get("vr") or "UN"
    if wanted := first_item(keys, tag):
        return {"vr": "SQ", "Value": [shown(wanted, item) for item in items_of(found, tag)]}
    return found.get(tag) or {"vr": vr}


def first_item(document: DICOMJSON, tag: str) -> DICOMJSON:
    """Return the first item of a sequence, empty if there is none."""
    return next(iter(items_of(document, tag)), {})


def items_of(document: DICOMJSON, tag: str) -> list[DICOMJSON]:
    """Return the items of a sequence."""
    element = document.get(tag)
    if not isinstance(element, dict) or element.get("vr") != "SQ":
        return []
    return [item for item in _values(element) if isinstance(item, dict)]


def text_at(document: DICOMJSON, tag: str) -> str:
    """Return the first value of an attribute as text, empty if there is none."""
    return next(iter(_texts(document.get(tag))), "")


def _texts(element: object) -> list[str]:
    return [_text(value) for value in _values(element)]


def _values(element: object) -> list[Any]:
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _text(value: Any) -> str:
    if isinstance(value, dict):  # a person's name
        return "=".join(str(value.get(group) or "") for group in _GROUPS).rstrip("=")
    return "" if value is None else str(value).strip()
