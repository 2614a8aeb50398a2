"""Sealing: sizes around the chunk, and chunks that were changed, swapped, cut or moved."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import IntegrityError
from nearframe.storage.packs.record import Coding
from nearframe.storage.packs.seal import Form, compress, decompress, open_chunk, seal, sealed_length

KEY = AESGCM(bytes(range(32)))
LOG2 = 8
CHUNK = 1 << LOG2


def form_of(size: int, content_id: bytes = bytes(32), kind: int = 1) -> Form:
    return Form(content_id, b"8 bytes.", kind, Coding.NONE, LOG2, size, sealed_length(size, LOG2))


def opened(form: Form, chunks: list[bytes]) -> bytes:
    return b"".join(open_chunk(KEY, form, number, chunk) for number, chunk in enumerate(chunks))


@given(st.lists(st.binary(max_size=3 * CHUNK), max_size=6))
def test_however_it_arrives_it_comes_back(parts: list[bytes]) -> None:
    data = b"".join(parts)
    form = form_of(len(data))
    chunks = list(seal(KEY, form, parts))
    assert len(chunks) == form.chunks
    assert sum(map(len, chunks)) == form.stored_length
    assert form.coded_length == len(data)
    assert [form.place_of(number)[1] for number in range(form.chunks)] == [len(chunk) for chunk in chunks]
    assert opened(form, chunks) == data


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("change", [-1, 1, CHUNK, -CHUNK])
def test_another_length_than_announced_is_refused(size: int, change: int) -> None:
    if size + change < 0:
        return
    with pytest.raises(IntegrityError):
        list(seal(KEY, form_of(size), [bytes(size + change)]))


def test_chunks_cannot_be_changed_swapped_cut_or_moved() -> None:
    form = form_of(3 * CHUNK)
    first, second, third = seal(KEY, form, [bytes(3 * CHUNK)])
    changed = bytes([first[0] ^ 1]) + first[1:]
    shorter = form_of(2 * CHUNK)
    for tampered, as_form, number in (
        (changed, form, 0),
        (second, form, 0),
        (third, form, 1),
        (second, shorter, 1),  # as if the third had never been
        (first, form_of(3 * CHUNK, content_id=bytes(31) + b"\1"), 0),
        (first, form_of(3 * CHUNK, kind=2), 0),
        (first, form._replace(coding=Coding.ZSTD), 0),
        (first, form._replace(nonce_prefix=b"another."), 0),
    ):
        with pytest.raises(IntegrityError):
            open_chunk(KEY, as_form, number, tampered)


@given(st.binary(max_size=1000))
def test_compression_comes_back(data: bytes) -> None:
    assert decompress(compress(data), len(data)) == data


def test_a_false_plain_length_is_refused() -> None:
    for length in (9, 11):
        with pytest.raises(IntegrityError):
            decompress(compress(b"0123456789"), length)
    with pytest.raises(IntegrityError):
        decompress(b"not zstd", 8)
