"""Documents of peers: bounded, or refused."""

import pytest
import zstandard

from nearframe.errors import LimitExceeded, MalformedRequest
from nearframe.wire import document
from nearframe.wire.document import decode_document, decompress, encode_document, load_json


def test_a_document_comes_back() -> None:
    document = {"a": [1, None, "é"], "b": {}}
    assert decode_document(encode_document(document)) == document


def test_a_compressed_bomb_costs_nothing() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(2**20))
    with pytest.raises(LimitExceeded):
        decompress(bomb, limit=1000)
    streamed = zstandard.ZstdCompressor().compressobj()
    with pytest.raises(MalformedRequest):
        decompress(streamed.compress(bytes(2**20)) + streamed.flush())


def test_a_bomb_of_values_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zstandard.ZstdCompressor(level=1).compress(b"[" + b"[]," * 5_100_000 + b"1]")
    assert len(bomb) < 10_000
    with pytest.raises(MalformedRequest, match="more values"):
        decode_document(bomb)
    monkeypatch.setattr(document, "MAX_VALUES", 3)
    assert load_json(b'{"a": [1, 2]}') == {"a": [1, 2]}


@pytest.mark.parametrize("text", [b"NaN", b"[1e400, Infinity]", b"\xff", b"{", b"[" * 100_000])
def test_json_of_a_peer(text: bytes) -> None:
    with pytest.raises(MalformedRequest):
        load_json(text)
