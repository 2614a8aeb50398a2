"""The header blob: everything of a stored file that is not a frame or a bulk value.

A Part 10 file is cut into *pieces* (encoded frames, large bulk values) and the bytes
between them, the *literals*: preamble, meta group, every other element, item tags,
offset tables, padding, trailing bytes. The header blob keeps the literals and where each
piece was, so the file comes back byte for byte::

    "NFH1"
    varint  number of holes
    per hole:
        varint  literal bytes since the previous hole
        varint  piece index
        varint  offset inside the piece
        varint  bytes of the piece that stand here
    the literals

A fragmented frame has one hole per fragment, all into one piece. The digest of an
instance's header, `hdr`, is the SHA-256 of this encoding, uncompressed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nearframe.errors import MalformedRequest
from nearframe.ids import Digest, sha256, sha256_of
from nearframe.wire.varint import get_varint, put_varint

MAGIC = b"NFH1"
_FILE = b"nearframe file 1\0"  # no digest of anything else starts so


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in the file that a slice of a piece fills.

    Attributes
    ----------
    position
        Literal bytes that stand before it.
    piece_index
        Zero-based index into the instance's pieces.
    piece_offset, length
        The slice of the piece that stands here, in bytes.
    """

    position: int
    piece_index: int
    piece_offset: int
    length: int


@dataclass(frozen=True, slots=True)
class HeaderBlob:
    """The literals of a file and its holes, ordered by position."""

    literals: bytes
    holes: tuple[Hole, ...] = ()

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file."""
        return len(self.literals) + sum(hole.length for hole in self.holes)

    @property
    def digest(self) -> Digest:
        """SHA-256 of the encoding: `hdr`."""
        return sha256(self.encode())

    def encode(self) -> bytes:
        """Return the blob as bytes."""
        out = bytearray(MAGIC)
        put_varint(out, len(self.holes))
        previous = 0
        for hole in self.holes:
            for value in (hole.position - previous, hole.piece_index, hole.piece_offset, hole.length):
                put_varint(out, value)
            previous = hole.position
        return bytes(out) + self.literals

    @classmethod
    def decode(cls, data: bytes) -> HeaderBlob:
        """Read a blob.

        Raises
        ------
        MalformedRequest
            If `data` is not a header blob, or a hole lies outside the literals.
        """
        if data[:4] != MAGIC:
            raise MalformedRequest("not a header blob")
        count, at = get_varint(data, 4)
        holes: list[Hole] = []
        position = 0
        for _ in range(count):
            gap, at = get_varint(data, at)
            piece_index, at = get_varint(data, at)
            piece_offset, at = get_varint(data, at)
            length, at = get_varint(data, at)
            position += gap
            holes.append(Hole(position, piece_index, piece_offset, length))
        literals = data[at:]
        if position > len(literals):
            raise MalformedRequest("a hole lies beyond the header's literals")
        return cls(literals, tuple(holes))

    def plan(self) -> Iterator[bytes | Hole]:
        """Yield literals and holes in file order."""
        at = 0
        for hole in self.holes:
            if hole.position > at:
                yield self.literals[at : hole.position]
                at = hole.position
            yield hole
        if at < len(self.literals):
            yield self.literals[at:]

    def reassemble(self, read: Callable[[int, int, int], bytes]) -> Iterator[bytes]:
        """Yield the file's bytes; `read(piece_index, offset, length)` returns a slice of a piece."""
        for part in self.plan():
            yield part if isinstance(part, bytes) else read(part.piece_index, part.piece_offset, part.length)


def file_digest(hdr: Digest, pieces: Iterable[Digest]) -> Digest:
    """Return the digest that identifies a whole file: over its header's and its pieces'.

    Header blob and pieces determine the file's bytes, so no byte is hashed twice, and a
    node that holds only digests comes to the same value.
    """
    return sha256_of((_FILE, hdr, *pieces))
