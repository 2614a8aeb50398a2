"""The elements of a stored instance, found again in its header."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from typing import Final

from nearframe.context import Context
from nearframe.dicom.dicomjson import swap_words
from nearframe.dicom.element import Part10
from nearframe.dicom.header_source import HeaderSource
from nearframe.dicom.limits import Limits
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource
from nearframe.dicom.transfersyntax import transfer_syntax
from nearframe.errors import LimitExceeded
from nearframe.query.body import Body, Held, Segment, Streamed
from nearframe.query.contents import ContentReader
from nearframe.query.stored_file import StoredFile, read_header
from nearframe.query.workers import Workers
from nearframe.storage.ports import InstanceRecord
from nearframe.units import MIB

#: A deflated object has no header apart from its data: it is taken into memory as a whole.
MAX_DEFLATED_BYTES: Final = 64 * MIB


@dataclass(frozen=True, slots=True)
class ParsedHeader:
    """Elements of an instance, and access to their values.

    Attributes
    ----------
    part10
        Its offsets address the file, or the inflated data set of a deflated object.
    source
        The header as random access to the file, without what left it.
    file
        The file as stored.
    """

    part10: Part10
    source: HeaderSource
    file: StoredFile

    def value(self, offset: int, length: int, word_bytes: int = 1) -> Segment:
        """Return bytes that elements address, with each word of `word_bytes` reversed."""
        opener = self._raw if word_bytes == 1 else partial(self._swapped, word_bytes)
        return Streamed(length, partial(opener, offset, offset + length))

    async def _raw(self, begin: int, end: int, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        first, last = begin + start, end if stop is None else begin + stop
        if self.part10.is_deflated:
            inflated = Held(self.part10.dataset.source.read(first, last - first))
            async for chunk in inflated.open(0, None):
                yield chunk
            return
        async for chunk in self.file.open(first, last):
            yield chunk

    async def _swapped(
        self, word_bytes: int, begin: int, end: int, start: int, stop: int | None
    ) -> AsyncGenerator[bytes, None]:
        # From the word that `start` lies in; whole words, the rest carried over to the next chunk.
        skip = start % word_bytes
        left = (end - begin if stop is None else stop) - start
        held = b""
        async for chunk in self._raw(begin, end, start - skip, None):
            held += chunk
            whole = len(held) - len(held) % word_bytes
            if len(chunk) == 0 or whole == 0:
                continue
            wanted = swap_words(held[:whole], word_bytes)[skip : skip + left]
            held, skip, left = held[whole:], max(0, skip - whole), left - len(wanted)
            if wanted:
                yield wanted
            if left <= 0:
                return
        if held and left > 0:  # an odd end has no order to reverse
            yield held[skip : skip + left]


async def parse_header(
    context: Context, contents: ContentReader, cpu: Workers, record: InstanceRecord, limits: Limits
) -> ParsedHeader:
    """Find the elements of a stored instance.

    Raises
    ------
    LimitExceeded
        If a deflated object is too large to be held.
    """
    header = await read_header(context, contents, record)
    source, file = HeaderSource(header), StoredFile(context, contents, record, header)
    if not transfer_syntax(record.transfer_syntax_uid).deflated:
        return ParsedHeader(await cpu.run(parse, source, limits), source, file)
    if record.file_bytes > MAX_DEFLATED_BYTES:
        raise LimitExceeded("max_deflated_bytes", MAX_DEFLATED_BYTES, record.file_bytes)
    whole = await Body([file]).read()
    return ParsedHeader(await cpu.run(parse, BytesSource(whole), limits), source, file)
