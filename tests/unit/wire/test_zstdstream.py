"""Streams of peers, decompressed: whole however they are cut, and never much at once."""

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.units import MIB
from nearframe.wire.zstdstream import ZstdStream


def opened(data: bytes, step: int = 65536) -> bytes:
    stream = ZstdStream()
    return b"".join(piece for at in range(0, len(data), step) for piece in stream.feed(data[at : at + step]))


@given(st.binary(max_size=2000), st.integers(1, 300))
def test_it_comes_back_however_it_is_cut(plain: bytes, step: int) -> None:
    assert opened(zstandard.ZstdCompressor().compress(plain), step) == plain


def test_a_bomb_comes_in_pieces() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(64 * MIB))
    assert len(bomb) < 4096
    assert max(map(len, ZstdStream().feed(bomb))) <= 5 * MIB


def test_what_it_refers_to_is_near() -> None:
    far = zstandard.ZstdCompressionParameters(window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=far).compressobj()
    with pytest.raises(MalformedRequest):
        opened(compressor.compress(bytes(1000)) + compressor.flush())


@pytest.mark.parametrize("data", [b"plain", zstandard.ZstdCompressor().compress(b"a") + b"and on"])
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        opened(data, step=1)
