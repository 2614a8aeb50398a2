"""Where an object's bytes come from: memory, a file, a part of another source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

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
