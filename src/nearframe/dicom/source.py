"""Where an object's bytes come from: memory, a file, a part of another source."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from types import TracebackType

from nearframe.dicom.dicomjson import swap_words
from nearframe.dicom.model import Slice, Source
from nearframe.errors import MalformedDICOM
from nearframe.units import MIB

CHUNK_BYTES = MIB


class BytesSource:
    """An object in memory."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        part = bytes(self._data[offset : offset + length])
        if len(part) != length:
            raise MalformedDICOM("the object ends inside a value", offset=offset)
        return part


class PartSource:
    """A range of another source."""

    __slots__ = ("_source", "_start", "size")

    def __init__(self, source: Source, start: int, size: int) -> None:
        self._source = source
        self._start = start
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise MalformedDICOM("the object ends inside a value", offset=offset)
        return self._source.read(self._start + offset, length)


class SwappedSource:
    """Another source in the other byte order.

    Parameters
    ----------
    word_bytes
        Size of what is reversed. It is read from the beginning of a word on.
    """

    __slots__ = ("_source", "_word_bytes", "size")

    def __init__(self, source: Source, word_bytes: int) -> None:
        self._source = source
        self._word_bytes = word_bytes
        self.size = source.size

    def read(self, offset: int, length: int) -> bytes:
        return swap_words(self._source.read(offset, length), self._word_bytes)


class JoinedSource:
    """Sources one behind the other."""

    __slots__ = ("_parts", "_starts", "size")

    def __init__(self, parts: Sequence[Source]) -> None:
        self._parts = parts
        *self._starts, self.size = accumulate((part.size for part in parts), initial=0)

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise MalformedDICOM("the object ends inside a value", offset=offset)
        read: list[bytes] = []
        index = bisect_right(self._starts, offset) - 1
        while length:
            within = offset - self._starts[index]
            taken = min(length, self._parts[index].size - within)
            read.append(self._parts[index].read(within, taken))
            offset, length, index = offset + taken, length - taken, index + 1
        return b"".join(read)


class MadeSource:
    """Bytes that are made when they are first read, and let go with the last of them: one reader, front to back.

    Parameters
    ----------
    size
        What `make` returns has as many bytes.
    """

    __slots__ = ("_made", "_make", "size")

    def __init__(self, size: int, make: Callable[[], bytes]) -> None:
        self.size = size
        self._make = make
        self._made: bytes | None = None

    def read(self, offset: int, length: int) -> bytes:
        made = self._make() if self._made is None else self._made
        self._made = made if offset + length < self.size else None
        if offset + length > len(made):
            raise MalformedDICOM("the object ends inside a value", offset=offset)
        return made[offset : offset + length]


class FileSource:
    """An object in a file, read by position. Close it, or use it as a context manager."""

    __slots__ = ("_fd", "size")

    def __init__(self, path: str | Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise MalformedDICOM("the object ends inside a value", offset=offset)
        part = os.pread(self._fd, length, offset)
        if len(part) != length:
            part += self._rest(offset + len(part), length - len(part))
        return part

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _rest(self, offset: int, length: int) -> bytes:
        # Linux returns at most 2 GiB less a page at once.
        parts = []
        while length:
            part = os.pread(self._fd, length, offset)
            if not part:
                raise MalformedDICOM("the object ends inside a value", offset=offset)
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)


def read_slices(source: Source, slices: tuple[Slice, ...], chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the bytes of `slices`, in order, in chunks of at most `chunk_bytes`."""
    for part in slices:
        end = part.offset + part.length
        for offset in range(part.offset, end, chunk_bytes):
            yield source.read(offset, min(chunk_bytes, end - offset))
