"""Record headers: a table both ways, damage of every byte, and arbitrary bytes."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import IntegrityError
from nearframe.storage.packs.record import (
    FILE_HEADER_BYTES,
    HEADER_BYTES,
    Coding,
    Flags,
    RecordHeader,
    RecordType,
    Role,
    decode_file_header,
    decode_header,
    decode_replaces,
    encode_file_header,
    encode_replaces,
)

CONTENT = RecordHeader(
    RecordType.CONTENT,
    content_id=bytes(range(32)),
    key_tag=b"key  tag",
    study_key_id=b"study key id ...",
    wrap_nonce=b"wrap nonce..",
    wrapped=bytes(range(80)),
    nonce_prefix=b"prefix..",
    kind=4,
    coding=Coding.ZSTD,
    flags=Flags.WRAPPED,
    chunk_log2=20,
    plain_length=5_000_000_000,
    stored_length=4_999_999_999,
)


def test_layout_is_the_documented_one() -> None:
    data = CONTENT.encode()
    assert len(data) == HEADER_BYTES
    assert data[:10] == b"NFR\x01\x01\x01\x04\x01\x01\x14"
    assert int.from_bytes(data[16:24], "little") == 5_000_000_000
    assert int.from_bytes(data[24:32], "little") == 4_999_999_999
    assert data[32:64] == CONTENT.content_id
    assert data[64:72] == CONTENT.key_tag
    assert data[72:80] == CONTENT.nonce_prefix
    assert data[80:96] == CONTENT.study_key_id
    assert data[96:108] == CONTENT.wrap_nonce
    assert data[108:188] == CONTENT.wrapped
    assert int.from_bytes(data[188:], "little") == zlib.crc32(data[:188])


@pytest.mark.parametrize(
    "header",
    [
        CONTENT,
        CONTENT.without_wrap(),
        CONTENT.only_wrap(),
        CONTENT.voided(),
        RecordHeader(RecordType.DROP, carrier=2**32 - 1),
    ],
)
def test_headers_come_back(header: RecordHeader) -> None:
    assert decode_header(header.encode()) == header


def test_only_some_records_carry_a_wrap() -> None:
    assert CONTENT.has_wrap
    assert CONTENT.only_wrap().has_wrap
    assert not CONTENT.without_wrap().has_wrap
    assert not CONTENT.voided().has_wrap
    assert CONTENT.voided().length == CONTENT.length
    assert CONTENT.only_wrap().length == HEADER_BYTES


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_a_changed_byte_is_noticed(at: int) -> None:
    data = bytearray(CONTENT.encode())
    data[at] ^= 0x10
    with pytest.raises(IntegrityError):
        decode_header(bytes(data))


@pytest.mark.parametrize(("at", "value"), [(4, 99), (5, 2), (7, 9)])
def test_what_a_later_version_writes_is_refused(at: int, value: int) -> None:
    head = bytearray(CONTENT.encode()[:-4])
    head[at] = value
    with pytest.raises(IntegrityError, match="this version does not know"):
        decode_header(bytes(head) + zlib.crc32(head).to_bytes(4, "little"))


@given(st.binary(max_size=2 * HEADER_BYTES))
def test_any_bytes_are_answered(data: bytes) -> None:
    for decode in (decode_header, decode_file_header):
        with pytest.raises(IntegrityError):
            decode(data)


@pytest.mark.parametrize("role", [Role.LOG, Role.WHOLE])
def test_file_headers_come_back(role: Role) -> None:
    data = encode_file_header(role, 7)
    assert len(data) == FILE_HEADER_BYTES
    assert decode_file_header(data) == (role, 7)
    with pytest.raises(IntegrityError):
        decode_file_header(data[:-1])


@given(st.lists(st.integers(0, 2**32 - 1), max_size=64))
def test_replaced_packs_come_back(numbers: list[int]) -> None:
    header, body = encode_replaces(numbers)
    assert header.stored_length == len(body)
    assert decode_replaces(header, body) == set(numbers)


def test_a_damaged_list_of_replaced_packs_removes_nothing() -> None:
    header, body = encode_replaces([1, 2, 3])
    with pytest.raises(IntegrityError):
        decode_replaces(header, body[:-1] + b"\7")
