"""Range requests (RFC 9110 section 14): which bytes to send, and how to say so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nearframe.errors import RangeNotSatisfiable

#: A viewer asks for one to four. More than this, after merging, and the whole is sent.
MAX_RANGES = 16
#: A longer Range header is ignored; merging is O(n log n) in its ranges.
MAX_HEADER_CHARS = 1024

_SPEC = re.compile(r"(\d{1,18})-(\d{0,18})|-(\d{1,18})")


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """Bytes ``start:stop`` of a representation; `stop` is exclusive, as in Python."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """Return the Content-Range of this part of `size` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def unsatisfied_content_range(size: int) -> str:
    """Return the Content-Range that goes with a 416."""
    return f"bytes */{size}"


def requested_ranges(
    range_header: str | None, size: int, *, if_range: str | None = None, etag: str | None = None
) -> tuple[ByteRange, ...]:
    """Return the ranges to send, in the order asked, or none for the whole representation.

    A header that is malformed, of another unit, or asks for more than `MAX_RANGES` separate
    ranges is ignored, as RFC 9110 section 14.2 allows. Ranges that touch or overlap are merged.

    Parameters
    ----------
    range_header, if_range
        Header values, None where absent.
    etag
        The strong validator of the representation, with quotes; None if it has none.

    Raises
    ------
    RangeNotSatisfiable
        If the header is well formed and no range lies within `size` bytes.
    """
    if range_header is None or (if_range is not None and not _still_valid(if_range, etag)):
        return ()
    asked = _parse(range_header, size)
    if asked is None:
        return ()
    satisfiable = [found for found in asked if found.start < found.stop]
    if not satisfiable:
        raise RangeNotSatisfiable(size)
    merged = _merge(satisfiable)
    return merged if len(merged) <= MAX_RANGES else ()


def _still_valid(if_range: str, etag: str | None) -> bool:
    # Section 13.1.5: strong comparison. We send no Last-Modified, so a date never matches.
    return etag is not None and if_range.strip() == etag and not etag.startswith("W/")


def _parse(header: str, size: int) -> list[ByteRange] | None:
    unit, equals, specs = header.partition("=")
    if unit.strip().lower() != "bytes" or not equals or len(header) > MAX_HEADER_CHARS:
        return None
    ranges: list[ByteRange] = []
    for spec in specs.split(","):
        if not spec.strip():
            continue
        match = _SPEC.fullmatch(spec.strip())
        if match is None:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            ranges.append(ByteRange(max(0, size - int(suffix)), size))
            continue
        start, stop = int(first), int(last) + 1 if last else size
        if stop <= start and last:
            return None  # "a last-pos less than first-pos is invalid"
        ranges.append(ByteRange(start, min(stop, size)))
    return ranges or None


def _merge(ranges: Sequence[ByteRange]) -> tuple[ByteRange, ...]:
    """Join ranges that touch or overlap; the order is that of the first of each group."""
    groups: list[tuple[int, ByteRange]] = []
    for position, found in sorted(enumerate(ranges), key=lambda item: item[1]):
        if groups and found.start <= groups[-1][1].stop:
            first, open_range = groups[-1]
            groups[-1] = (min(first, position), ByteRange(open_range.start, max(open_range.stop, found.stop)))
        else:
            groups.append((position, found))
    return tuple(found for _, found in sorted(groups, key=lambda item: item[0]))
