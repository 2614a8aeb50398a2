"""Reading zip and gzip files in place, with an end to what they may unpack to."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from typing import BinaryIO

from nearframe.units import GIB, MIB

#: What reading a broken or unusual archive raises.
UNPACKING_ERRORS = (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, zlib.error, RuntimeError)

#: What one compressed file may grow to: the largest genuine objects stay below.
MAX_UNPACKED_BYTES = 16 * GIB
#: Deflate reaches 1032 to 1 on zeros alone. A black cine comes close: small files may.
MAX_RATIO = 500
FREE_UNPACKED_BYTES = 256 * MIB

_READ_BYTES = MIB


class Zip(zipfile.ZipFile):
    """A zip file that closes what it reads from, at the latest with the last of its opened entries."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        try:
            super().__init__(source)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        super().close()
        self._source.close()


class Gzip(gzip.GzipFile):
    """A gzip file that closes what it reads from."""

    def __init__(self, source: BinaryIO) -> None:
        self.source = source
        super().__init__(fileobj=source, mode="rb")

    def close(self) -> None:
        super().close()
        self.source.close()


def gzip_size(file: Gzip) -> int | None:
    """Return the unpacked size by unpacking (the trailer counts modulo 2³²), or None if it grows past the limits."""
    size = 0
    while chunk := file.read(_READ_BYTES):
        size += len(chunk)
        if is_bomb(file.source.tell(), size):
            return None
    return size


def is_bomb(packed_bytes: int, unpacked_bytes: int) -> bool:
    """True if no genuine image packs like that."""
    if unpacked_bytes > MAX_UNPACKED_BYTES:
        return True
    return unpacked_bytes > FREE_UNPACKED_BYTES and unpacked_bytes > MAX_RATIO * packed_bytes
