"""Reading a pack from end to end, past damage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nearframe.errors import IntegrityError
from nearframe.storage.packs.files import ReadableFile
from nearframe.storage.packs.record import HEADER_BYTES, MAGIC, RecordHeader, decode_header

_BLOCK_BYTES: Final = 1 << 20


def read_records(file: ReadableFile, start: int, end: int) -> Iterator[tuple[int, RecordHeader]]:
    """Yield offset and header of every whole record between `start` and `end`.

    What is no record is skipped up to the next header whose CRC fits: damage costs the
    records it hit, not those behind them.
    """
    at = start
    while at + HEADER_BYTES <= end:
        header = _header_at(file, at)
        if header is not None and at + header.length <= end:
            yield at, header
            at += header.length
        else:
            at = _next_magic(file, at + 1, end)


def _header_at(file: ReadableFile, at: int) -> RecordHeader | None:
    data = bytearray(HEADER_BYTES)
    try:
        done = file.read_into(at, memoryview(data))
        return decode_header(bytes(data[:done]))
    except (IntegrityError, OSError):  # an unreadable sector is damage like any other
        return None


def _next_magic(file: ReadableFile, start: int, end: int) -> int:
    block = bytearray(_BLOCK_BYTES)
    while start < end:
        try:
            done = file.read_into(start, memoryview(block)[: end - start])
        except OSError:
            done = 0
        found = block.find(MAGIC, 0, done)
        if found >= 0:
            return start + found
        # A magic may lie across two blocks.
        start += max(done - len(MAGIC) + 1, 1) if done == _BLOCK_BYTES else end - start
    return end
