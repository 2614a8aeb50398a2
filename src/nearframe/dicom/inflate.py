"""Inflating a deflated data set (PS3.5 A.5) within bounds."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Iterator

from nearframe.dicom import notes
from nearframe.dicom.limits import FREE_INFLATED_BYTES, Limits, Scratch
from nearframe.dicom.model import Source
from nearframe.errors import LimitExceeded, MalformedDICOM
from nearframe.units import KIB, MIB

_IN_BYTES = 256 * KIB
_OUT_BYTES = MIB
_MEMORY_BYTES = 8 * MIB  # larger data sets go to a scratch file

_RAW, _WITH_HEADER = -15, 15


class InflatedSource:
    """An inflated data set: in memory, or in a scratch file that goes with this object."""

    def __init__(self, limits: Limits) -> None:
        self.size = 0
        self._limits = limits
        self._memory = bytearray()
        self._file: Scratch | None = None

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise MalformedDICOM("the data set ends inside a value", offset=offset)
        if self._file is not None:
            return self._file.read(offset, length)
        return bytes(self._memory[offset : offset + length])

    def append(self, part: bytes) -> None:
        """Add what was inflated next."""
        self.size += len(part)
        if self._file is None and self.size > _MEMORY_BYTES and self._limits.scratch is not None:
            self._file = self._limits.scratch()
            weakref.finalize(self, self._file.close)
            self._file.write(self._memory)
            self._memory = bytearray()
        if self._file is None:
            self._memory += part
        else:
            self._file.write(part)


def inflate(source: Source, start: int, limits: Limits, found: set[str]) -> InflatedSource:
    """Inflate what lies behind `start`.

    Memory stays within `_MEMORY_BYTES` where `limits` name a scratch file. A bomb is refused as
    soon as the bytes read so far do not explain what came of them.

    Raises
    ------
    LimitExceeded
        If the data set grows beyond `limits`.
    MalformedDICOM
        If it is not a deflate stream, or is cut off.
    NoSpace
        If the disk has no room for it.
    """
    inflated = InflatedSource(limits)
    try:
        for part, consumed in _inflated(source, start, _window_bits(source, start, found)):
            _check_size(inflated.size + len(part), consumed, limits)
            inflated.append(part)
    except zlib.error as error:
        raise MalformedDICOM("the deflated data set is not a deflate stream", offset=start) from error
    return inflated


def _check_size(size: int, consumed: int, limits: Limits) -> None:
    if size > limits.max_inflated_bytes:
        raise LimitExceeded("max_inflated_bytes", limits.max_inflated_bytes)
    if size > FREE_INFLATED_BYTES and size > limits.max_inflate_ratio * consumed:
        raise LimitExceeded("max_inflate_ratio", limits.max_inflate_ratio)


def _inflated(source: Source, start: int, window_bits: int) -> Iterator[tuple[bytes, int]]:
    """Yield parts of at most `_OUT_BYTES`, each with the deflated bytes consumed by then."""
    engine = zlib.decompressobj(window_bits)
    for offset in range(start, source.size, _IN_BYTES):
        pending = source.read(offset, min(_IN_BYTES, source.size - offset))
        end = offset + len(pending)
        while pending and not engine.eof:
            part = engine.decompress(pending, _OUT_BYTES)
            pending = engine.unconsumed_tail
            yield part, end - len(pending) - start
        if engine.eof:
            return
    yield engine.flush(), source.size - start
    if start < source.size and not engine.eof:
        raise MalformedDICOM("the deflated data set is cut off", offset=source.size)


def _window_bits(source: Source, start: int, found: set[str]) -> int:
    """Tell a raw stream, as PS3.5 A.5 wants it, from one with a zlib header, as some writers send it."""
    head = source.read(start, min(2, source.size - start))
    if len(head) == 2 and head[0] & 0x0F == 8 and int.from_bytes(head, "big") % 31 == 0:
        found.add(notes.ZLIB_HEADER)
        return _WITH_HEADER
    return _RAW
