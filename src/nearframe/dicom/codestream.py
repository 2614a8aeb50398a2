"""What a compressed frame says of itself, read without decoding anything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Codestream:
    """The header of a compressed frame: JPEG, JPEG-LS, JPEG 2000 or HTJ2K.

    Attributes
    ----------
    bits
        Precision of a sample, the largest of the components.
    is_lossless
        True if every coding step the stream names can be undone exactly.
    start
        Offset of the first marker in the frame: more than 0 where a writer left JP2 boxes.
    levels
        How many lower resolutions can be decoded alone.
    is_ycbcr
        JPEG with three components: what its own markers say of colour, None if nothing.
    """

    rows: int
    columns: int
    components: int
    bits: int
    is_lossless: bool
    is_signed: bool = False
    start: int = 0
    is_jpeg_ls: bool = False
    is_high_throughput: bool = False
    levels: int = 0
    is_ycbcr: bool | None = None
