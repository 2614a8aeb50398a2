"""Consumer: `pix` of frames that had none when they came in, those in a reversible compression above all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from nearframe.dicom.frames import pix_of_frame
from nearframe.dicom.transfersyntax import Loss, transfer_syntax
from nearframe.errors import LimitExceeded, MalformedDICOM
from nearframe.ids import Digest
from nearframe.origin.background import FrameReader
from nearframe.storage.ports import Catalogue, InstanceRecord
from nearframe.wire.frametable import FrameTable


@dataclass(frozen=True, slots=True)
class FoundDigests:
    """The frame table of a version with the `pix` that were found."""

    record: InstanceRecord
    frames: FrameTable


class PixelDigests:
    """Decodes frames and records the digest of their samples."""

    name = "pix"

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def make(self, record: InstanceRecord, read_frame: FrameReader) -> FoundDigests | None:
        syntax = transfer_syntax(record.transfer_syntax_uid)
        frames = record.frames
        if record.pixel is None or frames.has_every_pix or not syntax.is_decodable or syntax.loss is Loss.LOSSY:
            return None
        digests = [
            frames.pix_of(index) or self._pix(record, frames.enc_of(index), read_frame) for index in range(len(frames))
        ]
        found = frames.with_pix(digests)
        return None if found == frames else FoundDigests(record, found)

    def write(self, made: Sequence[FoundDigests]) -> None:
        for one in made:
            record = one.record
            self._catalogue.set_pix(record.study.tenant, record.identity.sop_instance_uid, record.version, one.frames)

    def _pix(self, record: InstanceRecord, enc: Digest, read_frame: FrameReader) -> Digest | None:
        assert record.pixel is not None  # noqa: S101 - make() looked
        # A frame that does not decode is none the worse for it: it has no `pix`.
        with suppress(MalformedDICOM, LimitExceeded):
            return pix_of_frame(read_frame(record.study, enc), record.transfer_syntax_uid, record.pixel, enc)
        return None
