"""Reading DICOM JSON that others wrote: what is not as PS3.18 Annex F has it counts as missing."""

from __future__ import annotations

from typing import Any, Final

from nearframe.dicom.model import DICOMJSON

_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


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
    return next(iter(texts_of(document.get(tag))), "")


def texts_of(element: object) -> list[str]:
    """Return the values of an attribute as text."""
    return [_text(value) for value in _values(element)]


def _values(element: object) -> list[Any]:
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _text(value: Any) -> str:
    if isinstance(value, dict):  # a person's name
        return "=".join(str(value.get(group) or "") for group in _GROUPS).rstrip("=")
    return "" if value is None else str(value).strip()
