"""Reading single values out of DICOM JSON for the search columns."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from nearframe.dicom.model import DICOMJSON
from nearframe.storage.catalogue import text

_INT64_MAX = 2**63 - 1


_encode = msgspec.json.Encoder().encode
_encode_any = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def dump(value: Any) -> bytes:
    """Return `value` as compact JSON in UTF-8; half a surrogate pair, which UTF-8 has no form for, as ``?``."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode_any(value).encode("utf-8", "replace")


def first(attributes: DICOMJSON, tag: str) -> Any:
    """Return the first value of an attribute, or None where it is absent, empty or not as PS3.18 F.2 has it."""
    element = attributes.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def string(attributes: DICOMJSON, tag: str) -> str:
    """Return the first value as text, empty where there is none."""
    value = first(attributes, tag)
    return str(value).strip()[: text.MAX_TEXT] if isinstance(value, str | int | float) else ""


def integer(attributes: DICOMJSON, tag: str) -> int | None:
    """Return the first value as a whole number, None where it is not one."""
    value = first(attributes, tag)
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= _INT64_MAX else None


def name(attributes: DICOMJSON, tag: str) -> tuple[str, str, str]:
    """Return the three groups of a person name, folded."""
    value = first(attributes, tag)
    return text.name_groups(value if isinstance(value, dict) else None)


def element(vr: str, values: Iterable[Any]) -> DICOMJSON:
    """Return a DICOM JSON attribute."""
    return {"vr": vr, "Value": list(values)}
