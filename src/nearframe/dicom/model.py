"""What an object is once parsed and split: plain values that every layer above shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, TypeAlias

from nearframe.ids import Identity
from nearframe.wire.header import HeaderBlob

#: A DICOM JSON object (PS3.18 Annex F): ``{"00100010": {"vr": "PN", "Value": [...]}, ...}``.
DICOMJSON: TypeAlias = dict[str, Any]


class Source(Protocol):
    """Random access to an object's bytes: a file, a spool, memory, or a header blob with holes.

    `read` returns exactly `length` bytes or raises `MalformedDICOM`; it may be called from
    any thread, one at a time.
    """

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes: ...


class PieceKind(IntEnum):
    """What a piece of a file is. The numbers are stored: never renumber."""

    FRAME = 1
    BULK = 2
    #: A whole data set that cannot be cut (deflated, or undecodable beyond the identifiers).
    OPAQUE = 3


@dataclass(frozen=True, slots=True)
class Slice:
    """A range of the source file."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes cut out of a file and stored by digest: its slices of the source, joined.

    Attributes
    ----------
    tag
        The element it is the value of: 0x7FE00010 for frames.
    derived
        True if the slices address `SplitInstance.derived` and not the file: the piece is
        stored for its readers, and no hole of the header refers to it.
    """

    kind: PieceKind
    tag: int
    slices: tuple[Slice, ...]
    derived: bool = False

    @property
    def length(self) -> int:
        return sum(part.length for part in self.slices)


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The Image Pixel attributes that decoding needs (PS3.3 C.7.6.3), as the header says them."""

    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    photometric_interpretation: str
    planar_configuration: int = 0
    number_of_frames: int = 1
    #: "OB", "OW", "OF" or "OD": float and double pixel data are native only.
    vr: str = "OW"
    lossy: bool = False

    @property
    def native_frame_bits(self) -> int:
        """Bits of one native frame; YBR_FULL_422 stores two samples a pixel (PS3.3 C.7.6.3.1.2)."""
        samples = (
            2 if self.photometric_interpretation in ("YBR_FULL_422", "YBR_PARTIAL_422") else self.samples_per_pixel
        )
        return self.rows * self.columns * samples * self.bits_allocated


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes searches answer with, as DICOM JSON, by level (PS3.18 section 10.6.3)."""

    study: DICOMJSON
    series: DICOMJSON
    instance: DICOMJSON


@dataclass(frozen=True, slots=True)
class SplitInstance:
    """A file taken apart.

    Attributes
    ----------
    pieces
        In file order; holes of `header` refer to them by index.
    frame_pieces
        For each frame, in frame order, the index of its piece. Empty if the object has no
        pixel data or it cannot be cut into frames.
    pixel
        None if the object has no readable Image Pixel module.
    metadata
        The full DICOM JSON of the instance, bulk values as ``{"vr", "BulkDataURI"}`` with a
        URI relative to the instance: ``"bulkdata/7FE00010"``, nested ``"bulkdata/52009230/0/…"``.
    notes
        Codes of oddities that did not stop us, see `dicom.notes`: shown to people, never with values.
    derived
        What the slices of `derived` pieces address (see `dicom.split.read_piece`): the inflated
        data set of a deflated object, or frames of one bit a pixel moved to byte boundaries.
    """

    identity: Identity
    transfer_syntax_uid: str
    header: HeaderBlob
    pieces: tuple[Piece, ...]
    frame_pieces: tuple[int, ...]
    pixel: PixelDescription | None
    metadata: DICOMJSON
    attributes: Attributes
    notes: tuple[str, ...] = ()
    derived: Source | None = field(default=None, compare=False, repr=False)
