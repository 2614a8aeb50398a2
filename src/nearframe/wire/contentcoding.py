"""Content codings (RFC 9110 section 8.4): which one a client gets, and making it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import zstandard

from nearframe.wire.mediatype import split_list

IDENTITY: Final = "identity"

#: Codings we can give, best first. Of a series' metadata zstd and br leave 1/75, gzip 1/42.
CODINGS: Final = ("zstd", "br", "gzip")

_ALIASES = {"x-gzip": "gzip"}


def choose_coding(header: str | None, available: Sequence[str]) -> str:
    """Return the first of `available` among those the client ranks highest, or ``identity``.

    Browsers advertise br and zstd in secure contexts only and fail on them elsewhere, so
    nothing is sent that was not asked for by name or by ``*``.
    """
    if not header:
        return IDENTITY
    weights = dict(_weighted(member) for member in split_list(header))
    best, chosen = 0.0, IDENTITY
    for coding in available:
        weight = weights.get(coding, weights.get("*", 0.0))
        if weight > best:
            best, chosen = weight, coding
    return chosen if best >= weights.get(IDENTITY, 0.0) else IDENTITY


def _weighted(member: str) -> tuple[str, float]:
    coding, _, parameter = member.partition(";")
    name, _, value = parameter.partition("=")
    coding = coding.strip().lower()
    try:
        weight = float(value) if name.strip().lower() == "q" else 1.0
    except ValueError:
        weight = 1.0
    return _ALIASES.get(coding, coding), weight


def encode(data: bytes, coding: str, *, once: bool = False) -> bytes:
    """Return `data` in a content coding.

    Parameters
    ----------
    once
        True for an answer that is not kept: less effort, larger by a third or so.
    """
    return (_QUICK if once else _THOROUGH)[coding](data)


def _gzip(level: int) -> Callable[[bytes], bytes]:
    return lambda data: zlib.compress(data, level, zlib.MAX_WBITS | 16)


def _zstd(level: int) -> Callable[[bytes], bytes]:
    return lambda data: zstandard.ZstdCompressor(level).compress(data)


def _brotli(level: int) -> Callable[[bytes], bytes]:
    def encoded(data: bytes) -> bytes:
        import imagecodecs  # brings NumPy: a node that serves frames alone does without

        return bytes(imagecodecs.brotli_encode(data, level=level))

    return encoded


_THOROUGH: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    IDENTITY: bytes, "gzip": _gzip(6), "zstd": _zstd(10), "br": _brotli(5)
}  # fmt: skip
_QUICK: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    IDENTITY: bytes, "gzip": _gzip(1), "zstd": _zstd(1), "br": _brotli(1)
}  # fmt: skip
