"""Every digest of an object, in one pass over its bytes."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field

from nearframe.dicom.frames import pix_of_frame
from nearframe.dicom.model import Piece, PieceKind, PixelDescription, Slice, Source, SplitInstance
from nearframe.dicom.source import read_slices
from nearframe.dicom.transfersyntax import Codec, transfer_syntax
from nearframe.errors import LimitExceeded, MalformedDICOM
from nearframe.ids import Digest
from nearframe.units import MIB

#: Pieces of an object up to this size stay in memory until they are stored.
KEEP_OBJECT_BYTES = 4 * MIB

#: A piece up to this size is read in one go, and hashed twice: as encoded bytes and as
#: samples. A larger native frame gets its `pix` in the background, where nobody waits.
WHOLE_PIECE_BYTES = 16 * MIB


@dataclass(slots=True)
class Survey:
    """The digests of an object.

    Attributes
    ----------
    pieces
        SHA-256 of each piece.
    pix
        `pix` of native frames, by index of the piece.
    kept
        Bytes of the pieces by index, if the object is small.
    """

    pieces: tuple[Digest, ...] = ()
    pix: dict[int, Digest] = field(default_factory=dict)
    kept: dict[int, bytes] = field(default_factory=dict)


def survey(source: Source, instance: SplitInstance) -> Survey:
    """Digest the pieces of a file and the samples of its native frames.

    Raises
    ------
    MalformedDICOM
        If the file ends before a piece does.
    """
    return _Pass(source, instance).run()


class _Pass:
    def __init__(self, source: Source, instance: SplitInstance) -> None:
        self._source = source
        self._instance = instance
        self._keeps = source.size <= KEEP_OBJECT_BYTES
        self._native = _native_pixel(instance)
        self._enc = [hashlib.sha256() for _ in instance.pieces]
        self._found = Survey()

    def run(self) -> Survey:
        self._stored()
        self._derived()
        self._found.pieces = tuple(enc.digest() for enc in self._enc)
        return self._found

    def _stored(self) -> None:
        at = 0
        for part in self._instance.header.plan():
            if isinstance(part, bytes):
                at += len(part)
            else:
                self._digest(self._source, part.piece_index, Slice(at, part.length))
                at += part.length

    def _derived(self) -> None:
        derived = self._instance.derived
        for index, piece in enumerate(self._instance.pieces):
            if piece.derived and derived is not None:
                for part in piece.slices:
                    self._digest(derived, index, part)

    def _digest(self, source: Source, index: int, part: Slice) -> None:
        """Add a slice of a piece to the piece's digest."""
        piece = self._instance.pieces[index]
        whole = part.length == piece.length <= WHOLE_PIECE_BYTES
        for chunk in [source.read(part.offset, part.length)] if whole else read_slices(source, (part,)):
            self._enc[index].update(chunk)
            if whole:
                self._note(index, piece, chunk)

    def _note(self, index: int, piece: Piece, data: bytes) -> None:
        """Take what needs all of a piece at once."""
        if self._keeps:
            self._found.kept[index] = data
        if self._native is None or piece.kind is not PieceKind.FRAME:
            return
        # A frame that is not what the header says is stored all the same: it has no `pix`.
        with suppress(MalformedDICOM, LimitExceeded):
            enc = self._enc[index].digest()
            pix = pix_of_frame(data, self._instance.transfer_syntax_uid, self._native, enc)
            if pix is not None:
                self._found.pix[index] = pix


def _native_pixel(instance: SplitInstance) -> PixelDescription | None:
    native = transfer_syntax(instance.transfer_syntax_uid).codec is Codec.NATIVE
    return instance.pixel if native else None
