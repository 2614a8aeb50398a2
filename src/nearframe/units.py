"""Sizes and times with their units, read from and written for people."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

_DURATION = re.compile(r"^\s*(\d{1,9}(?:\.\d+)?)\s*(s|min|h|d)\s*$", re.IGNORECASE)
_SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}


def parse_size(text: str) -> int:
    """Read ``"64 MiB"``, ``"1.5GB"`` or ``"4096"`` as bytes.

    Raises
    ------
    ValueError
        If `text` is not a size.
    """
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 64 MiB")
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    return int(float(number) * base ** _POWERS[prefix.lower()])


def format_size(size_bytes: float) -> str:
    """Write bytes the way a person reads them: ``"1.4 MB"`` (powers of 1000)."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: ``"1 instance"``, ``"28 instances"``, ``"2 studies"``, ``"90 days"``."""
    many = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
    return f"{count} {noun}" if count == 1 else f"{count} {many}"


def format_size_exact(size_bytes: int) -> str:
    """Write bytes in the largest binary unit that loses nothing: ``"64 MiB"``, ``"1000 B"``."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size_bytes and size_bytes % size == 0:
            return f"{size_bytes // size} {unit}"
    return f"{size_bytes} B"


def parse_duration(text: str) -> float:
    """Read ``"24 h"``, ``"1.5 d"``, ``"10 min"`` or ``"90 s"`` as seconds.

    Raises
    ------
    ValueError
        If `text` is not a time with its unit.
    """
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time; write for example 24 h")
    number, unit = match.groups()
    return float(number) * _SECONDS[unit.lower()]


def format_age(seconds: float) -> str:
    """Write how long something is ago the way a person says it: ``"40 s"``, ``"12 min"``, ``"30 h"``, ``"45 d"``."""
    for unit, size in _SECONDS.items():
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def format_duration(seconds: float) -> str:
    """Write seconds in the largest unit that loses nothing: ``"7 d"``, ``"90 s"``."""
    for unit, size in _SECONDS.items():
        if seconds and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"
