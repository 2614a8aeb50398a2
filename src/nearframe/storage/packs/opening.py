"""Opening sealed contents where they stand in a pack."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.errors import IntegrityError
from nearframe.ids import sha256_of
from nearframe.storage.packs.files import CachedFile, ReadableFile
from nearframe.storage.packs.keys import StudyKeys
from nearframe.storage.packs.record import HEADER_BYTES, Coding, RecordHeader
from nearframe.storage.packs.seal import Form, decompress, open_chunk, open_chunk_into


class _Scratch(threading.local):
    """A buffer per thread for sealed bytes: fetching 200 KB into a fresh one costs as much again in page faults."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def view(self, length: int) -> memoryview:
        if len(self._buffer) < length:
            self._buffer = bytearray(length)
        return memoryview(self._buffer)[:length]


_scratch = _Scratch()


def read_range(
    key: AESGCM, form: Form, file: ReadableFile, offset: int, start: int = 0, stop: int | None = None
) -> Iterator[bytes]:
    """Yield bytes ``start:stop`` of the content whose record starts at `offset`, chunk by chunk.

    Raises
    ------
    IntegrityError
        If a chunk is cut short or does not open.
    """
    start, stop, _ = slice(start, stop).indices(form.plain_length)
    if form.coding == Coding.ZSTD:
        coded = b"".join(_read_chunk(key, form, file, offset, chunk) for chunk in range(form.chunks))
        yield decompress(coded, form.plain_length)[start:stop]
        return
    first = start >> form.chunk_log2
    last = max(stop - 1, start) >> form.chunk_log2
    for chunk in range(first, min(last + 1, form.chunks)):
        plain = _read_chunk(key, form, file, offset, chunk)
        base = chunk << form.chunk_log2
        if start <= base and base + len(plain) <= stop:
            yield plain
        else:
            yield plain[max(start - base, 0) : max(stop - base, 0)]


def read_cached(
    key: AESGCM, form: Form, file: CachedFile, offset: int, head: bytes = b"", tail: bytes = b""
) -> bytearray | None:
    """Return a content of one chunk between `head` and `tail` if the page cache has it, else None.

    It is opened into the buffer that is returned: nothing is copied on the way.

    Raises
    ------
    IntegrityError
        If it does not open.
    """
    sealed = _scratch.view(form.stored_length)
    if not file.read_into_nowait(offset + HEADER_BYTES, sealed):
        return None
    if form.coding == Coding.ZSTD:
        plain = decompress(open_chunk(key, form, 0, sealed), form.plain_length)
        return bytearray().join((head, plain, tail))
    framed = bytearray(len(head) + form.plain_length + len(tail))
    framed[: len(head)] = head
    open_chunk_into(key, form, sealed, memoryview(framed)[len(head) : len(head) + form.plain_length])
    framed[len(framed) - len(tail) :] = tail
    return framed


def form_of(header: RecordHeader) -> Form:
    """Return the form of the content that a record holds."""
    return Form(
        header.content_id,
        header.nonce_prefix,
        header.kind,
        header.coding,
        header.chunk_log2,
        header.plain_length,
        header.stored_length,
    )


def _read_chunk(key: AESGCM, form: Form, file: ReadableFile, offset: int, chunk: int) -> bytes:
    at, length = form.place_of(chunk)
    sealed = _scratch.view(length)
    if file.read_into(offset + HEADER_BYTES + at, sealed) != length:
        raise IntegrityError("a pack ends inside a content")
    return open_chunk(key, form, chunk, sealed)


def check_content(keys: StudyKeys, content_key: bytes, form: Form, file: ReadableFile, offset: int) -> None:
    """Open a whole content and compare it with the id it is stored under.

    Raises
    ------
    IntegrityError
        If it does not open, or is not what was announced when it was stored.
    """
    digest = sha256_of(read_range(AESGCM(content_key), form, file, offset))
    if keys.content_id(digest) != form.content_id:
        raise IntegrityError("a stored content is not what was announced when it was stored")
