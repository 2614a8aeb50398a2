"""Whole instances as they were stored: byte for byte, streamed, from any offset."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from nearframe.context import Context
from nearframe.errors import IntegrityError
from nearframe.ids import Digest
from nearframe.query.body import Held
from nearframe.query.contents import ContentReader
from nearframe.storage.ports import InstanceRecord
from nearframe.units import MIB
from nearframe.wire.header import HeaderBlob, Hole

#: A larger slice of a piece is streamed; a smaller one is read at once.
READ_WHOLE_BYTES = MIB


def piece_digest(record: InstanceRecord, piece_index: int) -> Digest:
    """Return the digest of a piece of the file, by its index in the header.

    Raises
    ------
    IntegrityError
        If header and catalogue do not belong together.
    """
    if not 0 <= piece_index < len(record.pieces):
        raise IntegrityError("the header refers to a piece that the catalogue does not know")
    at = record.pieces[piece_index]
    return record.frames.enc_of(at) if at >= 0 else record.bulk[-1 - at].digest


async def read_header(context: Context, contents: ContentReader, record: InstanceRecord) -> HeaderBlob:
    """Return the header of an instance.

    Raises
    ------
    IntegrityError
        If it does not add up to the size of the file.
    """
    header = HeaderBlob.decode(await contents.read(context, record.study, record.hdr))
    if header.file_bytes != record.file_bytes:
        raise IntegrityError("the header does not add up to the size of the file")
    return header


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The file as received: literals of its header, and slices of its pieces in between."""

    context: Context
    contents: ContentReader
    record: InstanceRecord
    header: HeaderBlob

    @property
    def length(self) -> int:
        return self.record.file_bytes

    async def open(self, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        """Yield bytes ``start:stop`` of the file."""
        stop = self.length if stop is None else stop
        at = 0
        for part in self.header.plan():
            length = len(part) if isinstance(part, bytes) else part.length
            first, last = max(start - at, 0), min(stop - at, length)
            if first < last:
                async for chunk in self._slice(part, first, last):
                    yield chunk
            at += length
            if at >= stop:
                return

    async def _slice(self, part: bytes | Hole, first: int, last: int) -> AsyncGenerator[bytes, None]:
        if isinstance(part, bytes):
            async for chunk in Held(part).open(first, last):
                yield chunk
            return
        digest = piece_digest(self.record, part.piece_index)
        start, stop = part.piece_offset + first, part.piece_offset + last
        if stop - start <= READ_WHOLE_BYTES:
            yield await self.contents.read(self.context, self.record.study, digest, start, stop)
            return
        async for chunk in self.contents.stream(self.context, self.record.study, digest, start, stop):
            yield chunk
