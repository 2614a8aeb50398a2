"""Inflating a deflated data set (PS3.5 A.5) within bounds."""

from __future__ import annotations

import tempfile
import weakref
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Lock
from typing import IO

from nearframe.dicom import notes
from nearframe.dicom.limits import FREE_INFLATED_BYTES, Limits
from nearframe.dicom.model import Source
from nearframe.errors import LimitExceeded, MalformedDICOM
from nearframe.units import KIB, MIB

_IN_BYTES = 256 * KIB
_OUT_BYTES = MIB
_MEMORY_BYTES = 8 * MIB  # larger data sets go to a temporary file

_RAW, _WITH_HEADER = -15, 15


class InflatedSource:
    """An inflated data set: in memory, or in an unnamed temporary file that goes with this object."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        weakref.finalize(self, file.close)
        self._lock = Lock()
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise MalformedDICOM("the data set ends inside a value", offset=offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(length)


def inflate(source: Source, start: int, limits: Limits, found: set[str]) -> InflatedSource:
    """Inflate what lies behind `start`.

    Memory stays within `_MEMORY_BYTES`. A bomb is refused as soon as the bytes read so far do
    not explain what came of them.

    Raises
    ------
    LimitExceeded
        If the data set grows beyond `limits`.
    MalformedDICOM
        If it is not a deflate stream, or is cut off.
    """
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.SpooledTemporaryFile(_MEMORY_BYTES))
        size = 0
        try:
            for part, consumed in _inflated(source, start, _window_bits(source, start, found)):
                size += len(part)
                _check_size(size, consumed, limits)
                file.write(part)
        except zlib.error as error:
            raise MalformedDICOM("the deflated data set is not a deflate stream", offset=start) from error
        stack.pop_all()  # the file lives as long as the source
        return InflatedSource(file, size)


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
