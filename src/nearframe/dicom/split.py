"""Taking a file apart: frames, bulk values, and a header with holes where they were.

Nothing is copied but the header: pieces are ranges of the source, to be hashed and stored
by whoever asked. `HeaderBlob.reassemble` is the way back, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator

from nearframe.dicom import notes
from nearframe.dicom.bitpacked import AlignedFrames
from nearframe.dicom.bulk import PIXEL_DATA_TAGS, cut_values, value_slices
from nearframe.dicom.describe import describe
from nearframe.dicom.element import Element, Encoding, Fragments, Part10
from nearframe.dicom.framecut import FrameSlices, encapsulated_frames, native_frames
from nearframe.dicom.limits import BULK_MIN_BYTES, Limits
from nearframe.dicom.model import Piece, PieceKind, PixelDescription, Slice, Source, SplitInstance
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import CHUNK_BYTES, read_slices
from nearframe.dicom.transfersyntax import transfer_syntax
from nearframe.errors import LimitExceeded
from nearframe.wire.header import HeaderBlob, Hole


def split(source: Source, limits: Limits | None = None) -> SplitInstance:
    """Parse a file and take it apart.

    Raises
    ------
    MalformedDICOM
        If it is not DICOM, or a declared length is not present.
    LimitExceeded
        If it would cost more than `limits` allow.
    MissingIdentifier
        If it has no SOP Instance UID.
    """
    limits = limits or Limits()
    return split_parsed(parse(source, limits), limits)


def split_parsed(part10: Part10, limits: Limits) -> SplitInstance:
    """Take a parsed file apart; see `split`."""
    described = describe(part10)
    found = set(described.notes)
    cut = _Cut(part10, limits, found)
    cut.values()
    cut.pixel_data(described.pixel)
    cut.tail()
    pieces = cut.pieces
    if part10.is_deflated:
        whole = Slice(part10.dataset_offset, part10.source.size - part10.dataset_offset)
        pieces = [Piece(PieceKind.OPAQUE, 0, (whole,)), *pieces]
    else:
        pieces.sort(key=_position)
    return SplitInstance(
        identity=described.identity,
        transfer_syntax_uid=described.transfer_syntax_uid,
        header=_header(part10.source, part10.meta.head, pieces, limits),
        pieces=tuple(pieces),
        frame_pieces=tuple(index for index, piece in enumerate(pieces) if piece.kind is PieceKind.FRAME),
        pixel=described.pixel,
        metadata=described.metadata,
        attributes=described.attributes,
        notes=tuple(sorted(found)),
        derived=cut.derived,
    )


def read_piece(
    instance: SplitInstance, source: Source, piece: Piece, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[bytes]:
    """Yield the bytes of a piece of `instance`, which was split from `source`."""
    derived = instance.derived if piece.derived else None
    return read_slices(derived or source, piece.slices, chunk_bytes)


def _position(piece: Piece) -> tuple[bool, int]:
    return piece.derived, piece.slices[0].offset


class _Cut:
    """Collects the pieces of one object."""

    def __init__(self, part10: Part10, limits: Limits, found: set[str]) -> None:
        self._part10 = part10
        self._dataset = part10.dataset
        self._limits = limits
        self._found = found
        self.pieces: list[Piece] = []
        self.derived: Source | None = part10.dataset.source if part10.is_deflated else None

    def values(self) -> None:
        """Cut the large values, at any depth."""
        for element in cut_values(self._dataset.elements):
            self._add(PieceKind.BULK, element.tag, value_slices(element))

    def pixel_data(self, pixel: PixelDescription | None) -> None:
        """Cut the pixel data into frames, or keep it as one value."""
        for tag in sorted(PIXEL_DATA_TAGS):
            element = self._dataset.by_tag.get(tag)
            if element is None or element.length == 0:
                continue
            frames = self._frames(element, pixel) if pixel is not None else None
            if frames is not None:
                pixel = None  # an object has one picture; a second one beside it is a value
                for slices in frames:
                    self._add(PieceKind.FRAME, tag, slices)
            elif whole := value_slices(element):
                self._add(PieceKind.BULK, tag, whole)

    def tail(self) -> None:
        """Cut what lies behind the data set, if it is large."""
        length = self._dataset.source.size - self._dataset.end
        if length >= BULK_MIN_BYTES:
            self._add(PieceKind.OPAQUE, 0, (Slice(self._dataset.end, length),))

    def _add(self, kind: PieceKind, tag: int, slices: tuple[Slice, ...]) -> None:
        self.pieces.append(Piece(kind, tag, slices, derived=self._part10.is_deflated))

    def _frames(self, element: Element, pixel: PixelDescription) -> FrameSlices | None:
        if pixel.number_of_frames > self._limits.max_frames:
            raise LimitExceeded("max_frames", self._limits.max_frames, pixel.number_of_frames)
        if element.fragments is not None:
            return self._encapsulated_frames(element.fragments, pixel)
        big_endian = self._dataset.encoding is Encoding.EXPLICIT_BIG
        frames = native_frames(element, pixel, self._found, big_endian=big_endian)
        if frames is None and notes.FRAMES_NOT_ALIGNED in self._found:
            self._align(element, pixel)
        return frames

    def _encapsulated_frames(self, fragments: Fragments, pixel: PixelDescription) -> FrameSlices | None:
        if transfer_syntax(self._part10.transfer_syntax_uid).is_video:
            self._found.add(notes.VIDEO)
            return None
        frames = encapsulated_frames(self._dataset, fragments, pixel.number_of_frames, self._found)
        if frames is not None and not all(frames):
            self._found.add(notes.FRAMES_NOT_FOUND)  # an empty frame is no frame
            return None
        return frames

    def _align(self, element: Element, pixel: PixelDescription) -> None:
        """Add each bit-packed frame a second time, where a reader can use it."""
        aligned = AlignedFrames(self._dataset.source, Slice(element.value_offset, element.length), pixel)
        self.derived = aligned
        self.pieces += [Piece(PieceKind.FRAME, element.tag, slices, derived=True) for slices in aligned.slices()]


def _header(source: Source, head: bytes, pieces: list[Piece], limits: Limits) -> HeaderBlob:
    """Return what stands between the pieces, and where each of them was."""
    cuts = _cuts(pieces)
    size = source.size - sum(part.length for part, _, _ in cuts)
    if size > limits.max_header_bytes:
        raise LimitExceeded("max_header_bytes", limits.max_header_bytes, size)
    holes, literals = [], []
    at = position = 0
    for part, index, piece_offset in cuts:
        literals.append(_read(source, head, at, part.offset))
        position += part.offset - at
        holes.append(Hole(position, index, piece_offset, part.length))
        at = part.offset + part.length
    literals.append(_read(source, head, at, source.size))
    return HeaderBlob(b"".join(literals), tuple(holes))


def _cuts(pieces: list[Piece]) -> list[tuple[Slice, int, int]]:
    """Return each slice that leaves a hole, with its piece and the offset in that, in file order."""
    cuts = []
    for index, piece in enumerate(pieces):
        if piece.derived:
            continue
        piece_offset = 0
        for part in piece.slices:
            cuts.append((part, index, piece_offset))
            piece_offset += part.length
    cuts.sort(key=lambda cut: cut[0].offset)
    return cuts


def _read(source: Source, head: bytes, start: int, stop: int) -> bytes:
    return head[start:stop] if stop <= len(head) else source.read(start, stop - start)
