"""Canonical JSON: one byte string per value, so that it can be hashed (RFC 8785, JCS).

Keys are sorted, nothing is padded, strings are UTF-8 with the fewest escapes, and numbers
are written as ECMAScript writes them, so a reader in another language finds the same
bytes. One difference from RFC 8785: integers keep all their digits where JCS rounds
beyond 2**53, since a 64-bit DICOM value must not change.
"""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any, TypeAlias

#: A JSON value; DICOM JSON holds null, numbers, strings, arrays and objects.
JSON: TypeAlias = Any
JSONObject: TypeAlias = dict[str, Any]

# ECMAScript Number::toString switches to exponents at these decimal exponents.
_FIRST_EXPONENT = 21
_LAST_LEADING_ZEROS = -6


def canonical_json(value: JSON) -> bytes:
    """Return the canonical form of a JSON value.

    Raises
    ------
    ValueError
        If it holds a number that JSON cannot write, or what is not JSON at all.
    """
    parts: list[str] = []
    _write(value, parts.append)
    # A lone surrogate can only come from a "\\ud800" escape; it passes, as in `json.loads`.
    return "".join(parts).encode("utf-8", "surrogatepass")


def _write(value: JSON, put: Callable[[str], None]) -> None:
    if isinstance(value, str):
        put(encode_basestring(value))
    elif value is None or value is True or value is False:
        put({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, int):
        put(int.__repr__(value))
    elif isinstance(value, float):
        put(ecmascript_number(value))
    elif isinstance(value, dict):
        _write_object(value, put)
    elif isinstance(value, list | tuple):
        _write_array(value, put)
    else:
        raise ValueError(f"{type(value).__name__} is not a JSON value")


def _write_object(value: JSONObject, put: Callable[[str], None]) -> None:
    opener = "{"
    # RFC 8785 section 3.2.3: sorted by UTF-16 code units.
    for key in sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass")):
        put(opener)
        put(encode_basestring(key))
        put(":")
        _write(value[key], put)
        opener = ","
    put("{}" if opener == "{" else "}")


def _write_array(value: list[JSON] | tuple[JSON, ...], put: Callable[[str], None]) -> None:
    put("[")
    for index, item in enumerate(value):
        if index:
            put(",")
        _write(item, put)
    put("]")


def ecmascript_number(value: float) -> str:
    """Write a float as ECMAScript's Number::toString does (ECMA-262 section 6.1.6.1.20)."""
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("JSON has no NaN and no infinity")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # repr gives the shortest digits that read back as the same double, as ECMAScript asks.
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    return sign + _place_point(digits, point)


def _place_point(digits: str, point: int) -> str:
    """Write ``0.digits * 10**point``; `digits` has no zero at either end."""
    count = len(digits)
    if count <= point <= _FIRST_EXPONENT:
        return digits + "0" * (point - count)
    if 0 < point <= _FIRST_EXPONENT:
        return f"{digits[:point]}.{digits[point:]}"
    if _LAST_LEADING_ZEROS < point <= 0:
        return "0." + "0" * -point + digits
    exponent = point - 1
    mantissa = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent)}"
