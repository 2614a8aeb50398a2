"""Compression against an earlier answer that the client still has (RFC 9842).

A client that kept an answer which said ``Use-As-Dictionary`` names it by its SHA-256 in
``Available-Dictionary`` when it asks for something that matches. An answer in the content
coding ``dcz`` is then 8 bytes that say so, the digest of the dictionary, and one zstd frame
made with it.
"""

from __future__ import annotations

import base64
import re
from typing import Final

import zstandard

from nearframe.ids import DIGEST_BYTES, Digest, sha256
from nearframe.wire.contentcoding import choose_coding

DCZ: Final = "dcz"
#: Named in ``Vary`` wherever an answer may be in this coding.
AVAILABLE: Final = "Available-Dictionary"
USE_AS: Final = "Use-As-Dictionary"
#: Beyond this zstandard looks back no further than its window, and building the tables takes seconds.
MAX_DICTIONARY_BYTES: Final = 16 * 1024 * 1024
# RFC 9842 section 5.2: a skippable frame that holds the digest.
_MAGIC: Final = bytes.fromhex("5e2a4d1820000000")
_LEVEL: Final = 9  # 2.6 MB of metadata against its last version: 3.2 kB in 20 ms; level 12 3.1 kB in 110 ms
#: What may stand in a match pattern and mean itself (URL Pattern standard).
_PLAIN_PATH: Final = re.compile(r"[\w./~-]+", re.ASCII)


def compress_against(data: bytes, dictionary: bytes) -> bytes:
    """Return `data` in the content coding dcz."""
    content = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, source_size=len(data), dict_size=len(dictionary), window_log=_window_log(len(data) + len(dictionary))
    )
    frame = zstandard.ZstdCompressor(dict_data=content, compression_params=parameters).compress(data)
    return _MAGIC + sha256(dictionary) + frame


def decompress_against(data: bytes, dictionary: bytes, limit: int) -> bytes:
    """Read what `compress_against` wrote.

    Raises
    ------
    ValueError
        If it was made with another dictionary, or is larger than `limit`.
    """
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : len(_MAGIC) + DIGEST_BYTES] != sha256(dictionary):
        raise ValueError("made with another dictionary")
    frame = data[len(_MAGIC) + DIGEST_BYTES :]
    if not 0 <= zstandard.frame_content_size(frame) <= limit:
        raise ValueError("larger than allowed")
    content = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdDecompressor(dict_data=content).decompress(frame)


def available_dictionary(header: str | None, accept_encoding: str | None) -> Digest | None:
    """Return the dictionary that a client has and takes dcz with, or None.

    Parameters
    ----------
    header
        ``Available-Dictionary``: one byte sequence (RFC 8941 section 3.3.5).
    """
    if header is None or choose_coding(accept_encoding, (DCZ,)) != DCZ:
        return None
    text = header.strip()
    if not (text.startswith(":") and text.endswith(":")):
        return None
    try:
        digest = base64.b64decode(text[1:-1], validate=True)
    except ValueError:
        return None
    return digest if len(digest) == DIGEST_BYTES else None


def use_for(path: str) -> str | None:
    """Return ``Use-As-Dictionary`` for what is at `path`, with whatever query; None for a path that is a pattern."""
    return f'match="{path}*"' if _PLAIN_PATH.fullmatch(path) else None


def _window_log(size: int) -> int:
    return max(10, min(size.bit_length(), zstandard.WINDOWLOG_MAX))
