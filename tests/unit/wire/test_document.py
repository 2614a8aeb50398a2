"""Documents of peers: bounded, or refused."""

import pytest
import zstandard

from nearframe.errors import LimitExceeded, MalformedRequest
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


@pytest.mark.parametrize("text", [b"NaN", b"[1e400, Infinity]", b"\xff", b"{", b"[" * 100_000])
def test_json_of_a_peer(text: bytes) -> None:
    with pytest.raises(MalformedRequest):
        load_json(text)
