"""Header blobs one after the other: ``u32 LE length, bytes`` of each, in an order both sides know.

No digests travel with them: the receiver hashes each and compares with its manifest. zstd
around the whole stream finds in each header what it shares with those before; a header of
a series costs 50 to 100 bytes that way, and a digest beside it would cost a third more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from nearframe.errors import LimitExceeded, MalformedRequest

MEDIA_TYPE = "application/vnd.nearframe.headers"
_LENGTH = struct.Struct("<I")


def frame_header(blob: bytes) -> bytes:
    """Return a header blob with its length before it."""
    return _LENGTH.pack(len(blob)) + blob


class HeaderStreamReader:
    """Reads a stream of headers from chunks of any size.

    Parameters
    ----------
    max_bytes
        Longest header taken.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the headers that the chunk completes.

        Raises
        ------
        LimitExceeded
            If one says that it is longer than allowed.
        """
        self._buffer += chunk
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > self._max_bytes:
                raise LimitExceeded("bytes of a header", self._max_bytes, length)
            stop = _LENGTH.size + length
            if len(self._buffer) < stop:
                return
            blob = bytes(self._buffer[_LENGTH.size : stop])
            del self._buffer[:stop]
            yield blob

    def close(self) -> None:
        """Say that the stream is over; raises `MalformedRequest` if it was cut within a header."""
        if self._buffer:
            raise MalformedRequest("the stream of headers was cut")
