"""A study in one answer: how it stands, its headers, its frames, most urgent first.

Layout, little endian: ``"NFS1"``, then records::

    kind u8, number u32, offset u64, length u64, then `length` bytes

    EPOCH      name of the catalogue that answers                       first, once
    UNCHANGED  root: the caller's state is the current one              \\
    MANIFEST   a manifest, compressed                                    > one of these, second
    DELTA      a delta from the caller's root, compressed               /
    HEADERS    zstd over ``u32 index, u32 length, bytes`` of headers
    FORM       parts of content `number` are from now on of this form: its digest, then a
               u32 per resolution: where it is complete; `offset` is the bytes of the form
    PART       bytes of content `number` from `offset` on
    ABSENT     content `number` cannot be had from here just now
    END        root; `number` is the number of the records before it     last, once

Contents are counted by `studycontents`, headers by the manifest's instances. Without a FORM
the parts of a content are of the content itself. Every byte can be proved: the manifest and
what a delta leads to by the root, headers and contents by their digests in the manifest. A
form that is not the content (a rendition) proves itself by what it decodes to: see
`dicom.rebuild`. Parts of a content come in order, those of different contents in any.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from nearframe.errors import MalformedRequest
from nearframe.ids import DIGEST_BYTES, Digest
from nearframe.units import MIB
from nearframe.wire.document import compress, decompress

MEDIA_TYPE = "application/vnd.nearframe.sync"
MAGIC: Final = b"NFS1"
MAX_FORM_BYTES = 2**40
#: Headers of one record: this, and one more header, which may be as large as any.
HEADERS_BYTES = 4 * MIB
_MAX_HEADERS_BYTES = HEADERS_BYTES + 64 * MIB
_MAX_RESOLUTIONS = 33
_RECORD = struct.Struct("<BIQQ")
_HEADER = struct.Struct("<II")


class Kind(IntEnum):
    """What a record is. The numbers are on the wire: never renumber."""

    EPOCH = 1
    UNCHANGED = 2
    MANIFEST = 3
    DELTA = 4
    HEADERS = 5
    FORM = 6
    PART = 7
    ABSENT = 8
    END = 9


_SAYS_STATE: Final = (Kind.UNCHANGED, Kind.MANIFEST, Kind.DELTA)
#: Longest payload taken, compressed; parts are passed on as they come.
_LONGEST: Final = {
    Kind.EPOCH: 64,
    Kind.UNCHANGED: DIGEST_BYTES,
    Kind.MANIFEST: 64 * MIB,
    Kind.DELTA: 64 * MIB,
    Kind.HEADERS: _MAX_HEADERS_BYTES,
    Kind.FORM: DIGEST_BYTES + 4 * _MAX_RESOLUTIONS,
    Kind.PART: MAX_FORM_BYTES,
    Kind.ABSENT: 0,
    Kind.END: DIGEST_BYTES,
}


# -- writing -----------------------------------------------------------------------------------


def opening(epoch: str) -> bytes:
    """Return what a stream begins with."""
    return MAGIC + _record(Kind.EPOCH, epoch.encode("ascii"))


def unchanged(root: Digest) -> bytes:
    return _record(Kind.UNCHANGED, root)


def manifest(encoded: bytes) -> bytes:
    """Return the record of an encoded manifest."""
    return _record(Kind.MANIFEST, encoded)


def delta(encoded: bytes) -> bytes:
    """Return the record of an encoded delta."""
    return _record(Kind.DELTA, encoded)


def headers(blobs: Iterable[tuple[int, bytes]]) -> bytes:
    """Return one record of headers, each with the index of its instance; `HEADERS_BYTES` of them and no more."""
    return _record(Kind.HEADERS, compress(b"".join(_HEADER.pack(index, len(blob)) + blob for index, blob in blobs)))


def form(number: int, digest: Digest, length: int, resolution_offsets: Sequence[int] = ()) -> bytes:
    offsets = struct.pack(f"<{len(resolution_offsets)}I", *resolution_offsets)
    return _record(Kind.FORM, digest + offsets, number, length)


def part(number: int, offset: int, length: int) -> bytes:
    """Return what stands before `length` bytes of a content."""
    return _RECORD.pack(Kind.PART, number, offset, length)


def absent(number: int) -> bytes:
    return _record(Kind.ABSENT, b"", number)


def ending(root: Digest, count: int) -> bytes:
    """Return the last record; `count` stand before it."""
    return _record(Kind.END, root, count)


def _record(kind: Kind, payload: bytes, number: int = 0, offset: int = 0) -> bytes:
    return _RECORD.pack(kind, number, offset, len(payload)) + payload


# -- reading -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Epoch:
    """The stream begins."""

    name: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The state the client named is the current one."""

    root: Digest


@dataclass(frozen=True, slots=True)
class ManifestDocument:
    """An encoded manifest, unverified."""

    encoded: bytes


@dataclass(frozen=True, slots=True)
class DeltaDocument:
    """An encoded delta, unverified."""

    encoded: bytes


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers with the indices of their instances, unverified."""

    blobs: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Form:
    """Parts of a content are from now on of this form."""

    number: int
    digest: Digest
    length: int
    resolution_offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a content, unverified; `last` on the final ones of a record."""

    number: int
    offset: int
    data: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class Absent:
    """A content cannot be had from this node just now."""

    number: int


@dataclass(frozen=True, slots=True)
class End:
    """The stream is whole."""

    root: Digest


Event: TypeAlias = Epoch | Unchanged | ManifestDocument | DeltaDocument | Headers | Form | Piece | Absent | End


class SyncStreamReader:
    """Reads a stream from chunks of any size, holding back no more than one record that is not a part."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = len(MAGIC)
        self._head: tuple[Kind, int, int, int] | None = None
        self._began = False
        self._seen = 0
        self._says_state = False
        self._ended = False
        # Of the part being read: content, offset of its next byte, bytes to come.
        self._part: tuple[int, int, int] | None = None

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield what the chunk completes.

        Raises
        ------
        MalformedRequest
            If it is not such a stream.
        LimitExceeded
            If headers are longer than any should be.
        """
        view = memoryview(chunk)
        while view:
            if self._part is not None:
                piece, view = self._take_part(view)
                yield piece
                continue
            missing = self._needed - len(self._buffer)
            self._buffer += view[:missing]
            view = view[missing:]
            # A record without payload is complete with its head.
            while self._part is None and len(self._buffer) == self._needed:
                taken = bytes(self._buffer)
                self._buffer.clear()
                event = self._next(taken)
                if event is not None:
                    yield event

    def close(self) -> None:
        """Say that the answer is over; raises `MalformedRequest` if its end is missing."""
        if not self._ended:
            raise MalformedRequest("the stream of a study was cut")

    def _take_part(self, view: memoryview) -> tuple[Piece, memoryview]:
        assert self._part is not None  # noqa: S101 - the caller has looked
        number, offset, left = self._part
        data = bytes(view[:left])
        left -= len(data)
        self._part = (number, offset + len(data), left) if left else None
        return Piece(number, offset, data, last=not left), view[len(data) :]

    def _next(self, taken: bytes) -> Event | None:
        """Take what was waited for: the magic, the head of a record, or its payload."""
        if not self._began:
            self._began = True
            if taken != MAGIC:
                raise MalformedRequest("the answer is no stream of a study")
            self._needed = _RECORD.size
            return None
        if self._head is None:
            return self._begin(taken)
        (kind, number, offset, _), self._head = self._head, None
        self._needed = _RECORD.size
        return self._event(kind, number, offset, taken)

    def _begin(self, head: bytes) -> Event | None:
        kind, number, offset, length = _RECORD.unpack(head)
        kind = self._checked(kind, length)
        self._seen += 1
        if kind is Kind.PART:
            if offset + length > MAX_FORM_BYTES:
                raise MalformedRequest("a part lies outside every content")
            if not length:
                return Piece(number, offset, b"", last=True)
            self._part = number, offset, length
            return None
        self._head = kind, number, offset, length
        self._needed = length
        return None

    def _checked(self, kind_number: int, length: int) -> Kind:
        if self._ended:
            raise MalformedRequest("bytes follow the end of the stream of a study")
        try:
            kind = Kind(kind_number)
        except ValueError as error:
            raise MalformedRequest("the stream of a study holds a record of an unknown kind") from error
        due = kind is Kind.EPOCH if not self._seen else (kind in _SAYS_STATE) != self._says_state
        if not due or (self._seen and kind is Kind.EPOCH):
            raise MalformedRequest("a record of the stream of a study is out of place")
        self._says_state = self._says_state or kind in _SAYS_STATE
        if length > _LONGEST[kind]:
            raise MalformedRequest("a record of the stream of a study is longer than any should be")
        return kind

    def _event(self, kind: Kind, number: int, offset: int, payload: bytes) -> Event:
        match kind:
            case Kind.EPOCH:
                return Epoch(payload.decode("ascii", "replace"))
            case Kind.UNCHANGED:
                return Unchanged(_digest(payload))
            case Kind.MANIFEST:
                return ManifestDocument(payload)
            case Kind.DELTA:
                return DeltaDocument(payload)
            case Kind.HEADERS:
                return Headers(tuple(_read_headers(payload)))
            case Kind.FORM:
                return _read_form(number, offset, payload)
            case Kind.ABSENT:
                return Absent(number)
            case _:
                if number != self._seen - 1:
                    raise MalformedRequest("the stream of a study ends before all was sent")
                self._ended = True
                return End(_digest(payload))


def _digest(payload: bytes) -> Digest:
    if len(payload) != DIGEST_BYTES:
        raise MalformedRequest("a digest in the stream of a study is cut")
    return payload


def _read_form(number: int, length: int, payload: bytes) -> Form:
    digest, packed = payload[:DIGEST_BYTES], payload[DIGEST_BYTES:]
    if len(packed) % 4 or length > MAX_FORM_BYTES:
        raise MalformedRequest("a form in the stream of a study cannot be read")
    offsets = struct.unpack(f"<{len(packed) // 4}I", packed)
    if any(low >= high for low, high in zip((0, *offsets), (*offsets, length + 1), strict=True)):
        raise MalformedRequest("the resolutions of a form do not follow each other")
    return Form(number, _digest(digest), length, offsets)


def _read_headers(payload: bytes) -> Iterator[tuple[int, bytes]]:
    plain = decompress(payload, _MAX_HEADERS_BYTES)
    at = 0
    while at < len(plain):
        if at + _HEADER.size > len(plain):
            raise MalformedRequest("a header in the stream of a study is cut")
        index, length = _HEADER.unpack_from(plain, at)
        at += _HEADER.size
        if at + length > len(plain):
            raise MalformedRequest("a header in the stream of a study is cut")
        yield index, plain[at : at + length]
        at += length
