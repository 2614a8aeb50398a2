"""Whole instances: as stored, or in another transfer syntax with a header that fits it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from nearframe.context import Context
from nearframe.dicom import notes
from nearframe.dicom.element import ITEM, PIXEL_DATA, SEQUENCE_DELIMITATION, UNDEFINED_LENGTH
from nearframe.dicom.elementbytes import delimiter, element_header
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.redescribe import redescribed
from nearframe.dicom.reencode import (
    Changes,
    PixelDataHere,
    ValueSlice,
    data_set,
    meta_of,
)
from nearframe.dicom.targets import AS_STORED, DEFAULT, targets
from nearframe.dicom.transcode import TranscodedFrame
from nearframe.dicom.transfersyntax import (
    Codec,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    Loss,
    transfer_syntax,
)
from nearframe.errors import NotAcceptable
from nearframe.query.body import Body, Held, Segment, Streamed
from nearframe.query.contents import ContentReader
from nearframe.query.parsed_header import parse_header
from nearframe.query.retrieve_frames import FrameForm, FrameService, Source
from nearframe.query.stored_file import StoredFile, read_header
from nearframe.query.workers import Workers
from nearframe.storage.ports import InstanceRecord

_NATIVE: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_ITEM_HEADER_BYTES: Final = 8
_MAX_VALUE_BYTES: Final = 0xFFFFFFFE  # PS3.5 section 7.1: 32 bits, even
#: What could not be understood could not be copied either.
_UNREADABLE: Final = frozenset({notes.UNREADABLE_TAIL, notes.UNREADABLE_SEQUENCE})


class InstanceService:
    """Gives whole instances."""

    def __init__(self, contents: ContentReader, frames: FrameService, cpu: Workers, limits: Limits) -> None:
        self._contents = contents
        self._frames = frames
        self._cpu = cpu
        self._limits = limits

    def syntaxes(self, records: Sequence[InstanceRecord]) -> list[str]:
        """Return the transfer syntaxes in which these instances can be asked for, as stored first."""
        stored = list(dict.fromkeys(record.transfer_syntax_uid for record in records))
        makeable = [set(self._makeable(record)) for record in records]
        common = sorted(set.intersection(*makeable)) if makeable else []
        some = [ExplicitVRLittleEndian] if any(ExplicitVRLittleEndian in uids for uids in makeable) else []
        first = stored if len(stored) == 1 else [AS_STORED, *stored]
        return list(dict.fromkeys([*first, *some, *common]))

    def target(self, record: InstanceRecord, wanted: str) -> str:
        """Return the transfer syntax an instance goes out in.

        Parameters
        ----------
        wanted
            A UID, `AS_STORED`, or `DEFAULT`: then Explicit VR Little Endian, except for what
            is lossy or cannot be decoded, which goes as stored (PS3.18 section 8.7.3.5.2).
        """
        stored = record.transfer_syntax_uid
        if wanted == DEFAULT:
            wanted = AS_STORED if _is_lossy(record) else ExplicitVRLittleEndian
        return wanted if wanted in self._makeable(record) else stored

    async def file(self, context: Context, record: InstanceRecord, target: str) -> Body:
        """Return the Part 10 file of an instance; byte for byte as received if `target` is its own syntax."""
        if target == record.transfer_syntax_uid:
            return Body(
                [StoredFile(context, self._contents, record, await read_header(context, self._contents, record))]
            )
        return await self._reencoded(context, record, target)

    async def data_set(self, context: Context, record: InstanceRecord, target: str) -> Body:
        """Return the data set of an instance, without the file meta information, for a DICOM peer.

        Parameters
        ----------
        target
            Its own syntax; one that `makeable_for_peers` names.
        """
        if target == record.transfer_syntax_uid:
            stored = StoredFile(context, self._contents, record, await read_header(context, self._contents, record))
            header = await parse_header(context, self._contents, self._cpu, record, self._limits)
            return Body([_Behind(stored, header.part10.dataset_offset)])
        return Body((await self._reencoded(context, record, target)).segments[1:])

    def makeable_for_peers(self, record: InstanceRecord) -> tuple[str, ...]:
        """Return the syntaxes, besides its own, in which an instance can be sent by C-STORE.

        Implicit VR Little Endian too, which DICOMweb does not speak (PS3.18 section 8.7.3.5.2). What is lossy is
        decoded for a peer that takes nothing else, and never encoded another time.
        """
        makeable = self._makeable(record)
        native: tuple[str, ...] = _NATIVE if ExplicitVRLittleEndian in makeable else ()
        if record.transfer_syntax_uid == ExplicitVRLittleEndian and not _UNREADABLE.intersection(record.notes):
            native = (ImplicitVRLittleEndian,)
        encoded = () if _is_lossy(record) else tuple(uid for uid in makeable if uid != ExplicitVRLittleEndian)
        return tuple(uid for uid in (*native, *encoded) if uid != record.transfer_syntax_uid)

    async def possible(self, context: Context, record: InstanceRecord, target: str) -> str:
        """Return `target`, or the instance's own syntax if its first frame cannot be decoded after all."""
        if target != record.transfer_syntax_uid and not self._copies_pixel_data(record, target):
            try:
                await self._frames.made(context, record, 1, target)
            except NotAcceptable:
                return record.transfer_syntax_uid
        return target

    def _makeable(self, record: InstanceRecord) -> tuple[str, ...]:
        """Return the syntaxes other than its own that an instance can be given in."""
        if _UNREADABLE.intersection(record.notes):
            return ()
        syntax = transfer_syntax(record.transfer_syntax_uid)
        has_pixel_data = len(record.frames) > 0 or any(entry.tag == PIXEL_DATA for entry in record.bulk)
        if not has_pixel_data:
            possible: tuple[str, ...] = (ExplicitVRLittleEndian,)
        elif record.pixel is None or len(record.frames) == 0:
            possible = (ExplicitVRLittleEndian,) if _is_copied(record) else ()
        else:
            possible = targets(record.transfer_syntax_uid, record.pixel)
            if not _is_copied(record) and not _fits_native(record.pixel, len(record.frames)):
                possible = tuple(uid for uid in possible if uid != ExplicitVRLittleEndian)
        return tuple(uid for uid in possible if uid != syntax.uid)

    async def _reencoded(self, context: Context, record: InstanceRecord, target: str) -> Body:
        header = await parse_header(context, self._contents, self._cpu, record, self._limits)
        implicit_vr = target == ImplicitVRLittleEndian
        copies = self._copies_pixel_data(record, target)
        changes: Changes = {}
        pixel_data: list[Segment] = []
        if not copies:
            example = await self._frames.made(context, record, 1, _frames_in(target))
            stored, encoded_bytes = record.transfer_syntax_uid, sum(record.frames.lengths)
            changes = redescribed(header.part10.dataset, stored, encoded_bytes, example, len(record.frames))
            pixel_data = await self._pixel_data(context, record, target, example)
        part10 = header.part10
        write = partial(data_set, part10.dataset, changes, replaces_pixel_data=not copies, implicit_vr=implicit_vr)
        chunks = await self._cpu.run(lambda: list(write()))
        segments: list[Segment] = [Held(meta_of(part10, record.identity, target))]
        for chunk in chunks:
            match chunk:
                case bytes():
                    segments.append(Held(chunk))
                case ValueSlice():
                    segments.append(header.value(chunk.offset, chunk.length, chunk.word_bytes))
                case PixelDataHere():
                    segments += pixel_data
        return Body(segments)

    def _copies_pixel_data(self, record: InstanceRecord, target: str) -> bool:
        return len(record.frames) == 0 or (target in _NATIVE and _is_copied(record))

    async def _pixel_data(
        self, context: Context, record: InstanceRecord, target: str, example: TranscodedFrame
    ) -> list[Segment]:
        """Return the Pixel Data element (PS3.5 Annex A.2 or A.4), one segment a frame."""
        numbers = range(1, len(record.frames) + 1)
        if target in _NATIVE:
            length = len(example.encoded)
            total = length * len(numbers)
            native = [Streamed(length, partial(self._native_frame, context, record, number)) for number in numbers]
            implicit_vr = target == ImplicitVRLittleEndian
            head = element_header(PIXEL_DATA, "OW", total + total % 2, implicit_vr=implicit_vr)
            return [Held(head), *native, Held(bytes(total % 2))]
        # An empty Basic Offset Table; every frame is one fragment.
        sizes = await self._frames.lengths(context, record, numbers, FrameForm(target, Source.MADE))
        fragments = [
            Streamed(
                None if sizes is None else _ITEM_HEADER_BYTES + sizes[number - 1] + sizes[number - 1] % 2,
                partial(self._fragment, context, record, number, target),
            )
            for number in numbers
        ]
        head = element_header(PIXEL_DATA, "OB", UNDEFINED_LENGTH) + delimiter(ITEM)
        return [Held(head), *fragments, Held(delimiter(SEQUENCE_DELIMITATION))]

    async def _native_frame(
        self, context: Context, record: InstanceRecord, number: int, start: int, stop: int | None
    ) -> AsyncGenerator[bytes, None]:
        made = await self._frames.made(context, record, number, ExplicitVRLittleEndian)
        async for chunk in Held(made.encoded).open(start, stop):
            yield chunk

    async def _fragment(
        self, context: Context, record: InstanceRecord, number: int, target: str, start: int, stop: int | None
    ) -> AsyncGenerator[bytes, None]:
        made = await self._frames.made(context, record, number, target)
        padding = bytes(len(made.encoded) % 2)
        item = delimiter(ITEM, len(made.encoded) + len(padding)) + made.encoded + padding
        async for chunk in Held(item).open(start, stop):
            yield chunk


@dataclass(frozen=True, slots=True)
class _Behind:
    """A segment without its first bytes."""

    whole: Segment
    skipped: int

    @property
    def length(self) -> int | None:
        return None if self.whole.length is None else self.whole.length - self.skipped

    def open(self, start: int, stop: int | None) -> AsyncIterator[bytes]:
        return self.whole.open(start + self.skipped, None if stop is None else stop + self.skipped)


def _frames_in(target: str) -> str:
    """Return the syntax of the frames in a data set: native ones are the same with and without VRs."""
    return ExplicitVRLittleEndian if target in _NATIVE else target


def _is_lossy(record: InstanceRecord) -> bool:
    if transfer_syntax(record.transfer_syntax_uid).codec is Codec.NATIVE:
        return False  # it cannot get any larger
    is_lossy = record.pixel is not None and record.pixel.lossy
    return is_lossy or transfer_syntax(record.transfer_syntax_uid).loss is Loss.LOSSY


def _is_copied(record: InstanceRecord) -> bool:
    """Return True if native pixel data needs no decoding to become Explicit VR Little Endian.

    Not the GE syntax whose pixels alone are big endian: their byte order is not that of the data set.
    Nor big-endian pixels of more than a word: their VR says OW, their byte order is that of the whole pixel.
    """
    syntax = transfer_syntax(record.transfer_syntax_uid)
    if syntax.big_endian and record.pixel is not None and record.pixel.bits_allocated > 16:
        return False
    return syntax.codec is Codec.NATIVE and not syntax.encapsulated and syntax.big_endian_pixels == syntax.big_endian


def _fits_native(pixel: PixelDescription, count: int) -> bool:
    """Return True if `count` decoded frames, one behind the other, make a native value."""
    bits = pixel.rows * pixel.columns * pixel.samples_per_pixel * pixel.bits_allocated
    return (bits % 8 == 0 or count == 1) and bits * count // 8 <= _MAX_VALUE_BYTES
