"""Many contents in one answer: the order they were asked for, each with its digest and length.

Layout, repeated for each content asked for, then once the end record::

    digest   32 bytes       SHA-256 of the plain content
    length   u64 LE         bytes that follow, or 2**64 - 1: the study has no such content
    bytes

    end      32 zero bytes, u64 LE number of the records before it

The end record tells a whole answer from one that was cut where a record ended. Contents
are not compressed; header blobs travel with zstd around the whole stream, which finds in
each what it shares with those before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from nearframe.errors import MalformedRequest
from nearframe.ids import DIGEST_BYTES, Digest

MEDIA_TYPE = "application/vnd.nearframe.contents"
_RECORD = struct.Struct(f"<{DIGEST_BYTES}sQ")
_ABSENT = 2**64 - 1
_END = bytes(DIGEST_BYTES)


def opening(digest: Digest, length: int) -> bytes:
    """Return what stands before a content's bytes."""
    return _RECORD.pack(digest, length)


def absence(digest: Digest) -> bytes:
    """Return the record of a content that the study does not have."""
    return _RECORD.pack(digest, _ABSENT)


def ending(count: int) -> bytes:
    """Return the end record; `count` records stand before it."""
    return _RECORD.pack(_END, count)


@dataclass(frozen=True, slots=True)
class Opened:
    """A content begins: `length` bytes of it follow in any number of `Data`."""

    digest: Digest
    length: int


@dataclass(frozen=True, slots=True)
class Absent:
    """The study has no content with this digest."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class Data:
    """Some bytes of the content opened last; `last` on its final ones. An empty content has one, empty."""

    data: bytes
    last: bool


Event: TypeAlias = Opened | Absent | Data


class ContentStreamReader:
    """Reads a content stream from chunks of any size, holding back no more than one record head.

    Parameters
    ----------
    digests
        What was asked for: records in another order, or of other contents, are refused. None where
        the sender chooses; then nothing may be absent.
    max_length
        Longest content taken.
    """

    def __init__(self, digests: Sequence[Digest] | None, *, max_length: int) -> None:
        self._expected = digests
        self._max_length = max_length
        self._seen = 0
        self._head = bytearray()
        self._left = 0
        self._ended = False

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield what the chunk completes.

        Raises
        ------
        MalformedRequest
            If the stream is not what was asked for.
        """
        view = memoryview(chunk)
        while view:
            if self._left:
                taken, view = view[: self._left], view[self._left :]
                self._left -= len(taken)
                yield Data(bytes(taken), last=self._left == 0)
                continue
            missing = _RECORD.size - len(self._head)
            self._head += view[:missing]
            view = view[missing:]
            if len(self._head) == _RECORD.size:
                yield from self._record(*_RECORD.unpack(self._head))
                self._head.clear()

    def close(self) -> None:
        """Say that the answer is over; raises `MalformedRequest` if its end is missing."""
        if not self._ended:
            raise MalformedRequest("the stream of contents was cut")

    def _record(self, digest: Digest, length: int) -> Iterator[Event]:
        if self._ended:
            raise MalformedRequest("bytes follow the end of the stream of contents")
        if digest == _END:
            if length != self._seen or (self._expected is not None and self._seen != len(self._expected)):
                raise MalformedRequest("the stream of contents ends before all were sent")
            self._ended = True
            return
        if not self._is_next(digest):
            raise MalformedRequest("the stream holds another content than was asked for")
        self._seen += 1
        if length == _ABSENT and self._expected is not None:
            yield Absent(digest)
            return
        if length > self._max_length:
            raise MalformedRequest("a content in the stream is longer than agreed")
        self._left = length
        yield Opened(digest, length)
        if length == 0:
            yield Data(b"", last=True)

    def _is_next(self, digest: Digest) -> bool:
        if self._expected is None:
            return True
        return self._seen < len(self._expected) and digest == self._expected[self._seen]
