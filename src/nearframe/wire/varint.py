"""Whole numbers in groups of seven bits, the lowest first; the top bit says that another group follows."""

from __future__ import annotations

from nearframe.errors import MalformedRequest

MAX_BYTES = 10  # 64 bits in groups of seven


def put_varint(out: bytearray, value: int) -> None:
    """Append a number that is not negative."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def get_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at` and the offset after it.

    Raises
    ------
    MalformedRequest
        If `data` ends inside the number, or it has more than `MAX_BYTES`.
    """
    value = 0
    for shift in range(0, 7 * MAX_BYTES, 7):
        if at >= len(data):
            raise MalformedRequest("the bytes end inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedRequest("a number is too long")


def put_signed(out: bytearray, value: int) -> None:
    """Append a number of either sign: 0, -1, 1, -2, 2 … as 0, 1, 2, 3, 4 …"""
    put_varint(out, value << 1 if value >= 0 else ~(value << 1))


def get_signed(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that `put_signed` wrote at `at`, and the offset after it."""
    value, at = get_varint(data, at)
    return (value >> 1) ^ -(value & 1), at
