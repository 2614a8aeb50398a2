"""Frames, in the encoding a reader asks for.

A frame can be had as stored, as a rendition made earlier, or made now. What is made now
is made once for all who wait for it (single flight), in a bounded pool, and kept for a
while in bounded memory under ``(enc, target)``.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Final

from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.context import Context
from nearframe.dicom.targets import decoded_description, targets
from nearframe.dicom.transfersyntax import (
    OCTET_STREAM,
    Codec,
    ExplicitVRLittleEndian,
    HTJ2KLosslessRPCL,
    transfer_syntax,
)
from nearframe.errors import Busy, MalformedDICOM, NotAcceptable, NotFound
from nearframe.ids import Digest, sha256
from nearframe.query.contents import ContentReader
from nearframe.query.known_renditions import KnownRenditions
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, InstanceRecord, Rendition
from nearframe.units import MIB

if TYPE_CHECKING:
    from nearframe.dicom.transcode import TranscodedFrame

#: The encoding renditions are made in: any prefix of it is an exact lower resolution.
RENDITION_SYNTAX: Final = HTJ2KLosslessRPCL


#: Renditions that the catalogue names and nobody holds.
_LOST_KEPT: Final = 10_000


#: If they are no larger than this decoded, frames are made before an answer begins, which then knows its length.
MADE_AHEAD_BYTES: Final = 8 * MIB


class Source(IntEnum):
    """How a frame comes to be in an encoding, cheapest first."""

    RENDITION = 1
    STORED = 2
    MADE = 3


@dataclass(frozen=True, slots=True)
class FrameForm:
    """An encoding in which frames of an instance can be had.

    Attributes
    ----------
    renditions
        By frame number, for frames that were asked for and have been made before.
    """

    transfer_syntax_uid: str
    source: Source
    renditions: Mapping[int, Rendition] = field(default_factory=dict)


class FrameService:
    """Gives frames.

    Parameters
    ----------
    cache_bytes
        Memory for frames made on request.
    beside
        See `KnownRenditions`.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        contents: ContentReader,
        sql: Workers,
        cpu: Workers,
        *,
        cache_bytes: int,
        beside: Callable[[InstanceRecord], Sequence[InstanceRecord]] = lambda record: (record,),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._contents = contents
        self._known = KnownRenditions(catalogue, sql, RENDITION_SYNTAX, beside, monotonic)
        self._cpu = cpu
        self._made: SizedLRU[Digest, TranscodedFrame] = SizedLRU(cache_bytes)
        self._flights: SingleFlight[Digest, TranscodedFrame] = SingleFlight("transcode")
        self._lost: SizedLRU[Digest, bool] = SizedLRU(_LOST_KEPT)
        self.transcoded = 0

    def check(self, record: InstanceRecord, frame_numbers: Sequence[int]) -> None:
        """Raise `NotFound` unless the instance has all these frames, counted from one."""
        if not frame_numbers or min(frame_numbers) < 1 or max(frame_numbers) > len(record.frames):
            raise NotFound("frame")

    async def look_up(self, records: Sequence[InstanceRecord]) -> None:
        """Find out which frames of these instances have renditions: `forms` then waits for nothing."""
        await self._known.look_up(records)

    async def forms(self, record: InstanceRecord, frame_numbers: Sequence[int]) -> list[FrameForm]:
        """Return the encodings in which these frames can be had, the one we would rather send first.

        A rendition is offered if every frame asked for has one.
        """
        stored = FrameForm(stored_syntax(record), Source.STORED)
        if record.pixel is None:
            return [stored]
        own = (record.transfer_syntax_uid, stored.transfer_syntax_uid)
        possible = targets(record.transfer_syntax_uid, record.pixel)
        forms = [FrameForm(uid, Source.MADE) for uid in possible if uid not in own]
        # What only an archive can read is better decoded, if nothing else is asked for.
        forms.insert(0 if _viewers_read(record.transfer_syntax_uid) or not forms else 1, stored)
        if RENDITION_SYNTAX in possible:
            found = await self._known.of(record, frame_numbers)
            lost = any(self._lost.get(rendition.digest) for rendition in found.values())
            if len(found) == len(set(frame_numbers)) and not lost:
                forms = [form for form in forms if form.transfer_syntax_uid != RENDITION_SYNTAX]
                forms.insert(0, FrameForm(RENDITION_SYNTAX, Source.RENDITION, found))
        return forms

    def etag_digest(self, record: InstanceRecord, frame_number: int, form: FrameForm) -> Digest:
        """Return what the bytes of the frame in this form depend on, as a digest: equal digests, equal bytes."""
        enc = record.frames.enc_of(frame_number - 1)
        if form.source is Source.STORED:
            return enc
        if form.source is Source.RENDITION:
            return form.renditions[frame_number].digest
        # The header takes part in decoding: a corrected Bits Stored gives other bytes.
        return sha256(b"\0".join((enc, form.transfer_syntax_uid.encode(), repr(record.pixel).encode())))

    def size_of(self, record: InstanceRecord, frame_number: int, form: FrameForm) -> int | None:
        """Return the bytes of the frame in this form, or None if only making it tells."""
        if form.source is Source.STORED:
            return record.frames.lengths[frame_number - 1]
        if form.source is Source.RENDITION:
            return form.renditions[frame_number].length
        if form.transfer_syntax_uid == ExplicitVRLittleEndian and record.pixel is not None:
            decoded = decoded_description(record.transfer_syntax_uid, record.pixel)
            return (decoded.native_frame_bits + 7) // 8
        return None

    async def lengths(
        self, context: Context, record: InstanceRecord, frame_numbers: Sequence[int], form: FrameForm
    ) -> list[int] | None:
        """Return the bytes of each of these frames in this form, or None if that would mean to make many of them.

        Raises
        ------
        NotAcceptable, MalformedDICOM, NotFound, IntegrityError, UpstreamError
        """
        found: list[int] = []
        decoded_bytes = 0 if record.pixel is None else (record.pixel.native_frame_bits + 7) // 8
        for number in frame_numbers:
            size = self.size_of(record, number, form)
            if size is None and decoded_bytes * len(frame_numbers) > MADE_AHEAD_BYTES:
                return None
            found.append(len(await self.read(context, record, number, form)) if size is None else size)
        return found

    def held(self, record: InstanceRecord, frame_number: int, form: FrameForm) -> bytes | None:
        """Return the frame if that takes no waiting, else None."""
        digest = self.etag_digest(record, frame_number, form)
        if form.source is Source.MADE:
            made = self._made.get(digest)
            return None if made is None else made.encoded
        return self._contents.read_nowait(record.study, digest)

    async def read(self, context: Context, record: InstanceRecord, frame_number: int, form: FrameForm) -> bytes:
        """Return a frame; `frame_number` counts from one.

        Raises
        ------
        NotFound, MalformedDICOM, IntegrityError, UpstreamError
        """
        held = self.held(record, frame_number, form)
        if held is not None:
            return held
        digest = self.etag_digest(record, frame_number, form)
        if form.source is Source.STORED:
            return await self._contents.read(context, record.study, digest)
        if form.source is Source.RENDITION:
            try:
                return await self._contents.read(context, record.study, digest)
            except NotFound:
                return await self._again(context, record, frame_number, digest)
        return (await self.made(context, record, frame_number, form.transfer_syntax_uid)).encoded

    def comes_over_the_line(self, form: FrameForm) -> bool:
        """Return whether a frame in this form, if it is not held, is fetched as it is, and may be streamed."""
        return self._contents.fetches and form.source is not Source.MADE

    async def stream(
        self, context: Context, record: InstanceRecord, frame_number: int, form: FrameForm, start: int, stop: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield bytes ``start:stop`` of a stored or prepared frame, as they come.

        Raises
        ------
        NotFound, MalformedDICOM, IntegrityError, UpstreamError
            Most before the first chunk. Later ones leave what was yielded unfinished.
        """
        digest = self.etag_digest(record, frame_number, form)
        begun = False
        try:
            async with aclosing(self._contents.stream(context, record.study, digest, start, stop)) as chunks:
                async for chunk in chunks:
                    begun = True
                    yield chunk
        except NotFound:
            if begun or form.source is not Source.RENDITION:
                raise
            yield (await self._again(context, record, frame_number, digest))[start:stop]

    async def made(self, context: Context, record: InstanceRecord, frame_number: int, target: str) -> TranscodedFrame:
        """Return a frame transcoded to `target`, with the description that fits it.

        Raises
        ------
        NotAcceptable, MalformedDICOM, NotFound, IntegrityError, UpstreamError
        """
        key = self.etag_digest(record, frame_number, FrameForm(target, Source.MADE))
        held = self._made.get(key)
        if held is not None:
            return held
        return await self._flights.run(key, partial(self._make, context, record, frame_number, target, key))

    async def _again(self, context: Context, record: InstanceRecord, frame_number: int, digest: Digest) -> bytes:
        """Make a rendition again that was dropped, as renditions may be at any time."""
        made = await self.made(context, record, frame_number, RENDITION_SYNTAX)
        if sha256(made.encoded) != digest:
            # Another release of the encoder: the same samples, not the bytes that were promised.
            self._lost.put(digest, True, 1)
            raise Busy("a prepared form of this frame is gone; ask again")
        return made.encoded

    async def _make(
        self, context: Context, record: InstanceRecord, frame_number: int, target: str, key: Digest
    ) -> TranscodedFrame:
        # Codecs are imported when the first frame is made: a node serves what it holds before.
        from nearframe.dicom.transcode import transcode

        assert record.pixel is not None  # noqa: S101 - nothing is offered to be made without it
        encoded = await self._contents.read(context, record.study, record.frames.enc_of(frame_number - 1))
        try:
            made = await self._cpu.run(transcode, encoded, record.transfer_syntax_uid, record.pixel, target)
        except MalformedDICOM as error:
            raise undecodable(error) from error
        self.transcoded += 1
        self._made.put(key, made, len(made.encoded))
        return made


def undecodable(error: MalformedDICOM) -> NotAcceptable:
    """Return what a reader is told of a stored frame that cannot be decoded: it has done nothing wrong."""
    return NotAcceptable(f"the stored frame cannot be decoded ({error}); it can be had as stored, transfer-syntax=*")


def stored_syntax(record: InstanceRecord) -> str:
    """Return the syntax stored frames are labelled with.

    Native little-endian frames are the same bytes in every native syntax; Explicit VR Little
    Endian is the name readers of single frames know.
    """
    syntax = transfer_syntax(record.transfer_syntax_uid)
    is_plain = syntax.codec is Codec.NATIVE and not (syntax.big_endian_pixels or syntax.encapsulated)
    return ExplicitVRLittleEndian if is_plain else record.transfer_syntax_uid


def _viewers_read(transfer_syntax_uid: str) -> bool:
    syntax = transfer_syntax(transfer_syntax_uid)
    return not syntax.big_endian_pixels and not (syntax.encapsulated and syntax.media_type == OCTET_STREAM)
