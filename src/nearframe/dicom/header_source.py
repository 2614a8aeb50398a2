"""A header blob as a source: a file of which the frames and bulk values are elsewhere.

An edge that holds headers alone finds in them everything that metadata, search and the
cutting of frames need; only the values that left the header are missing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace

from nearframe.dicom.describe import Description, describe
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import Slice
from nearframe.dicom.part10 import parse
from nearframe.errors import MalformedDICOM
from nearframe.wire.header import HeaderBlob, Hole

#: ``read(piece_index, offset, length)`` returns a slice of a piece.
ReadPiece = Callable[[int, int, int], bytes]


class HeaderSource:
    """Random access to a file by the offsets it had, as far as its header blob reaches.

    Parameters
    ----------
    read_piece
        Fills the holes. Without it, reading one raises `MalformedDICOM`.
    """

    def __init__(self, header: HeaderBlob, read_piece: ReadPiece | None = None) -> None:
        self._read_piece = read_piece
        self._starts: list[int] = []
        self._parts: list[bytes | Hole] = []
        at = 0
        for part in header.plan():
            self._starts.append(at)
            self._parts.append(part)
            at += len(part) if isinstance(part, bytes) else part.length
        self.size = at

    def readable(self, offset: int) -> int:
        """Return how many bytes the header itself holds at `offset`; 0 inside a hole and at the end."""
        index = bisect_right(self._starts, offset) - 1
        if index < 0 or offset >= self.size:
            return 0
        part = self._parts[index]
        return self._starts[index] + len(part) - offset if isinstance(part, bytes) else 0

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise MalformedDICOM("the object ends inside a value", offset=offset)
        return b"".join(self._bytes_of(part, offset) for part in self.parts(Slice(offset, length)))

    def parts(self, where: Slice) -> Iterator[bytes | Hole]:
        """Yield what stands in a range: literals, and holes cut to the range."""
        at, stop = where.offset, where.offset + where.length
        index = max(0, bisect_right(self._starts, at) - 1)
        while at < stop:
            part, start = self._parts[index], self._starts[index]
            skipped = at - start
            if isinstance(part, bytes):
                yield part[skipped : stop - start]
                at = start + len(part)
            else:
                length = min(part.length - skipped, stop - at)
                yield replace(part, piece_offset=part.piece_offset + skipped, length=length)
                at += length
            index += 1

    def _bytes_of(self, part: bytes | Hole, offset: int) -> bytes:
        if isinstance(part, bytes):
            return part
        if self._read_piece is None:
            raise MalformedDICOM("this value is not held here", offset=offset)
        return self._read_piece(part.piece_index, part.piece_offset, part.length)


def metadata_of(header: HeaderBlob, limits: Limits | None = None, read_piece: ReadPiece | None = None) -> Description:
    """Describe an instance by its header blob: what `split` said of the whole file.

    Parameters
    ----------
    read_piece
        Needed for deflated objects only, whose data set is one piece.
    """
    return describe(parse(HeaderSource(header, read_piece), limits))
