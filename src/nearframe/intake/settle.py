"""Deciding by decoded samples where encoded bytes differ: same pixels in another transfer syntax?"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from nearframe.dicom.frames import pix_of_frame
from nearframe.dicom.model import PixelDescription
from nearframe.errors import LimitExceeded, MalformedDICOM, NotAcceptable, NotFound
from nearframe.ids import Digest
from nearframe.storage.ports import Catalogue, ContentStore, NewVersion, StudyRef, Undecided
from nearframe.wire.frametable import FrameTable


class Settler:
    """Finds the missing `pix` of both sides. Any thread may call."""

    def __init__(self, contents: ContentStore, catalogue: Catalogue) -> None:
        self._contents = contents
        self._catalogue = catalogue

    def settle(self, incoming: NewVersion, undecided: Undecided) -> NewVersion:
        """Return `incoming` with the `pix` that can be found, having recorded that of the held version."""
        held = undecided.current
        known = self.with_pix(held.study, held.frames, held.transfer_syntax_uid, held.pixel)
        if known != held.frames:
            self._catalogue.set_pix(held.study.tenant, held.identity.sop_instance_uid, held.version, known)
        frames = self.with_pix(incoming.study, incoming.frames, incoming.transfer_syntax_uid, incoming.pixel)
        return replace(incoming, frames=frames)

    def with_pix(
        self, study: StudyRef, frames: FrameTable, transfer_syntax_uid: str, pixel: PixelDescription | None
    ) -> FrameTable:
        """Return a frame table with every `pix` that decoding finds."""
        if pixel is None or frames.has_every_pix:
            return frames
        return frames.with_pix(
            [
                frames.pix_of(index) or self._pix(study, frames.enc_of(index), transfer_syntax_uid, pixel)
                for index in range(len(frames))
            ]
        )

    def _pix(self, study: StudyRef, enc: Digest, transfer_syntax_uid: str, pixel: PixelDescription) -> Digest | None:
        # Not found: an edge need not hold what it compares with. Its upstream decides.
        with suppress(MalformedDICOM, LimitExceeded, NotAcceptable, NotFound):
            return pix_of_frame(self._contents.read(study, enc), transfer_syntax_uid, pixel, enc)
        return None
