"""Sealing and opening contents: AES-256-GCM in chunks, so that a range opens only what it touches.

As in the STREAM construction, the nonce of chunk *n* is a random 8-byte prefix and the u32
*n*, and the additional data binds content, form, position and the last chunk: chunks can be
neither swapped, nor dropped, nor cut off, nor moved to another content. A content key is
random and its chunks are sealed once per nonce prefix.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.errors import IntegrityError
from nearframe.storage import zstd
from nearframe.storage.packs.record import TAG_BYTES
from nearframe.storage.ports import Buffer

_ASSOCIATED = struct.Struct("<32sBBBxQIB")
_NONCE = struct.Struct("<8sI")


class Form(NamedTuple):
    """What must be known of a content to open it, beside the key.

    Attributes
    ----------
    coding
        A `Coding`.
    plain_length
        Bytes of the content.
    stored_length
        Bytes of its sealed chunks.
    """

    content_id: bytes
    nonce_prefix: bytes
    kind: int
    coding: int
    chunk_log2: int
    plain_length: int
    stored_length: int

    @property
    def chunks(self) -> int:
        """Number of chunks; an empty content has one, which holds nothing but a tag."""
        return max(1, -(-self.stored_length // ((1 << self.chunk_log2) + TAG_BYTES)))

    @property
    def coded_length(self) -> int:
        """Bytes between coding and sealing."""
        return self.stored_length - TAG_BYTES * self.chunks

    def place_of(self, chunk: int) -> tuple[int, int]:
        """Return offset and length of a sealed chunk within the record's body."""
        whole = (1 << self.chunk_log2) + TAG_BYTES
        return chunk * whole, min(whole, self.stored_length - chunk * whole)

    def nonce(self, chunk: int) -> bytes:
        return _NONCE.pack(self.nonce_prefix, chunk)

    def associated(self, chunk: int) -> bytes:
        return _ASSOCIATED.pack(
            self.content_id,
            self.kind,
            self.coding,
            self.chunk_log2,
            self.plain_length,
            chunk,
            chunk == self.chunks - 1,
        )


def sealed_length(coded_length: int, chunk_log2: int) -> int:
    """Return the bytes that `coded_length` bytes take when sealed."""
    return coded_length + TAG_BYTES * max(1, -(-coded_length >> chunk_log2))


def seal(key: AESGCM, form: Form, coded: Iterable[Buffer]) -> Iterator[bytes]:
    """Yield the sealed chunks of a content.

    Raises
    ------
    IntegrityError
        If `coded` does not add up to the length that `form` says.
    """
    chunk = 0
    for chunk, block in enumerate(_blocks(coded, 1 << form.chunk_log2)):
        if chunk >= form.chunks or len(block) + TAG_BYTES != form.place_of(chunk)[1]:
            raise IntegrityError("a content is not as long as announced")
        yield key.encrypt(form.nonce(chunk), block, form.associated(chunk))
    if chunk != form.chunks - 1:
        raise IntegrityError("a content is shorter than announced")


def open_chunk(key: AESGCM, form: Form, chunk: int, sealed: Buffer) -> bytes:
    """Return what a sealed chunk holds.

    Raises
    ------
    IntegrityError
        If it does not open.
    """
    try:
        return key.decrypt(form.nonce(chunk), sealed, form.associated(chunk))
    except InvalidTag as error:
        raise IntegrityError("a stored content does not open under its key") from error


def open_chunk_into(key: AESGCM, form: Form, sealed: Buffer, plain: memoryview) -> None:
    """Open the only chunk of a content into `plain`, whose bytes are of no use if it raises.

    Raises
    ------
    IntegrityError
        If it does not open.
    """
    try:
        key.decrypt_into(form.nonce(0), sealed, form.associated(0), plain)
    except InvalidTag as error:
        raise IntegrityError("a stored content does not open under its key") from error


def compress(data: bytes) -> bytes:
    """Return `data` as one zstd frame."""
    return zstd.compressor().compress(data)


def decompress(coded: bytes, plain_length: int) -> bytes:
    """Return what `compress` was given.

    Raises
    ------
    IntegrityError
        If that is not `plain_length` bytes.
    """
    try:
        plain = zstd.decompressor().decompress(coded, max_output_size=plain_length)
    except zstandard.ZstdError as error:
        raise IntegrityError("a stored content does not decompress") from error
    if len(plain) != plain_length:
        raise IntegrityError("a stored content has another length than its record says")
    return plain


def _blocks(parts: Iterable[Buffer], size: int) -> Iterator[Buffer]:
    """Cut `parts` anew into blocks of `size` bytes and one rest, at least one block in all.

    A part that fits a block is passed on without a copy.
    """
    held: list[memoryview] = []
    held_bytes = 0
    for part in parts:
        view = memoryview(part)
        while len(view):
            # A full block goes out when another byte follows it: so the last is never an empty rest.
            if held_bytes == size:
                yield _joined(held)
                held, held_bytes = [], 0
            taken = view[: size - held_bytes]
            held.append(taken)
            held_bytes += len(taken)
            view = view[len(taken) :]
    yield _joined(held)


def _joined(views: list[memoryview]) -> Buffer:
    return views[0] if len(views) == 1 else b"".join(views)
