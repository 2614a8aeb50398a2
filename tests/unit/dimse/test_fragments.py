"""Messages become fragments."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from nearframe.dimse.fragments import data_pdus
from nearframe.dimse.pdu import HEADER_BYTES, read_fragment_header


@given(st.lists(st.binary(max_size=70)), st.integers(40, 61))
async def test_fragments_are_even_whatever_the_chunks(chunks: list[bytes], max_pdu_bytes: int) -> None:
    async def data() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    pdus = [(bytes(head), bytes(part)) async for head, part in data_pdus(3, b"command ", data(), max_pdu_bytes)]
    headers = [read_fragment_header(head[HEADER_BYTES:]) for head, _ in pdus]
    assert [header.is_command for header in headers] == [True] + [False] * (len(pdus) - 1)
    assert [header.is_last for header in headers] == [True] + [False] * (len(pdus) - 2) + [True]
    assert b"".join(part for _, part in pdus[1:]) == b"".join(chunks)
    assert all(len(head) + len(part) - HEADER_BYTES <= max_pdu_bytes for head, part in pdus)
    assert all(len(part) % 2 == 0 for _, part in pdus[:-1])
