"""The frame table of one instance: what each frame is, by digest.

Layout, little endian: ``u32 count``, then three columns, so that lengths compress and
digests stay contiguous::

    enc     count x 32 bytes   SHA-256 of the encoded frame, fragments joined
    pix     count x 32 bytes   SHA-256 of the canonical samples, or zeros where unknown or undefined
    length  count x u64        bytes of the encoded frame
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from nearframe.errors import MalformedRequest
from nearframe.ids import DIGEST_BYTES, Digest

NO_PIXELS = bytes(DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Digests and lengths of the frames of one instance, in frame order.

    Attributes
    ----------
    enc, pix
        `count` digests of 32 bytes each, joined. A `pix` of zeros means that the frame is
        lossy (two decoders disagree on its samples), undecodable, or not yet decoded.
    lengths
        Bytes of each encoded frame.
    """

    enc: bytes = b""
    pix: bytes = b""
    lengths: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[tuple[Digest, int]]:
        return ((self.enc_of(i), self.lengths[i]) for i in range(len(self.lengths)))

    @classmethod
    def of(cls, rows: Sequence[tuple[Digest, Digest | None, int]]) -> FrameTable:
        """Build a table from ``(enc, pix, length)`` rows."""
        return cls(
            enc=b"".join(enc for enc, _, _ in rows),
            pix=b"".join(pix or NO_PIXELS for _, pix, _ in rows),
            lengths=tuple(length for _, _, length in rows),
        )

    def enc_of(self, frame_index: int) -> Digest:
        """Return the `enc` digest of a frame; `frame_index` counts from zero."""
        return self.enc[frame_index * DIGEST_BYTES : (frame_index + 1) * DIGEST_BYTES]

    def pix_of(self, frame_index: int) -> Digest | None:
        """Return the `pix` digest of a frame, or None where it has none."""
        pix = self.pix[frame_index * DIGEST_BYTES : (frame_index + 1) * DIGEST_BYTES]
        return None if pix == NO_PIXELS else pix

    @property
    def has_every_pix(self) -> bool:
        """True if every frame has a `pix` digest."""
        return all(self.pix_of(i) is not None for i in range(len(self)))

    def with_pix(self, digests: Sequence[Digest | None]) -> FrameTable:
        """Return the table with its `pix` column replaced."""
        return replace(self, pix=b"".join(pix or NO_PIXELS for pix in digests))

    def encode(self) -> bytes:
        """Return the table as bytes."""
        lengths = array("Q", self.lengths)
        return struct.pack("<I", len(self)) + self.enc + self.pix + lengths.tobytes()

    @classmethod
    def decode(cls, data: bytes) -> FrameTable:
        """Read a table from bytes.

        Raises
        ------
        MalformedRequest
            If `data` has another length than its count says.
        """
        if len(data) < 4:
            raise MalformedRequest("frame table shorter than its count")
        (count,) = struct.unpack_from("<I", data)
        if len(data) != 4 + count * (2 * DIGEST_BYTES + 8):
            raise MalformedRequest("frame table length does not fit its count")
        enc_end = 4 + count * DIGEST_BYTES
        pix_end = enc_end + count * DIGEST_BYTES
        lengths = array("Q")
        lengths.frombytes(data[pix_end:])
        return cls(data[4:enc_end], data[enc_end:pix_end], tuple(lengths))
