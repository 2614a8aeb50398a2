"""A zstd stream of a peer, opened piece by piece: what it takes is bounded, whatever it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import zstandard

from nearframe.errors import MalformedRequest
from nearframe.units import MIB

#: A block says in four bytes that one byte stands there 128 KiB times (RFC 8878 section 3.1.1.2): a slice gives 4 MiB
#: at most.
_SLICE_BYTES: Final = 128
#: How far back a stream may refer: four times what every decoder has to bear (RFC 8878 section 3.1.1.1.2).
_MAX_WINDOW_BYTES: Final = 32 * MIB


class ZstdStream:
    """Opens one frame from chunks of any size."""

    def __init__(self) -> None:
        self._opener = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what the chunk holds, in pieces.

        Raises
        ------
        MalformedRequest
            If it is no zstd, or goes on after its end.
        """
        for start in range(0, len(chunk), _SLICE_BYTES):
            try:
                piece = self._opener.decompress(chunk[start : start + _SLICE_BYTES])
            except zstandard.ZstdError as error:
                raise MalformedRequest("the stream cannot be decompressed") from error
            if piece:
                yield piece
