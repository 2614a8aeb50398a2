"""The perceptual index of a study: what its frames look like, for nodes that hold the study too.

Hashes are made after an instance was stored and say nothing about what it is, so they are no
part of a manifest. The list follows the frames of the manifest with that root, in its order;
compressed JSON::

    {"root": "<root>",
     "quality": [percent, ...],     null: not looked at yet; -1: nothing there can be looked at
     "hash": "<base64>"}            32 bytes of each frame that has a quality
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final, NamedTuple

from nearframe.errors import MalformedRequest
from nearframe.ids import Digest, parse_digest
from nearframe.wire.canonical import JSONObject
from nearframe.wire.document import decode_document, encode_document

HASH_BYTES: Final = 32
_BLIND: Final = -1
_MOST: Final = 100


class HashEntry(NamedTuple):
    """What a frame looks like; `hash` is empty where nothing can be looked at."""

    hash: bytes
    quality: int


@dataclass(frozen=True, slots=True)
class HashList:
    """The hashes of the frames of a manifest; None where a frame was not looked at yet."""

    root: Digest
    entries: tuple[HashEntry | None, ...]


def encode_hashes(hashes: HashList) -> bytes:
    """Return the list as compressed JSON."""
    document: JSONObject = {
        "root": hashes.root.hex(),
        "quality": [_quality(entry) for entry in hashes.entries],
        "hash": base64.b64encode(b"".join(entry.hash for entry in hashes.entries if entry)).decode("ascii"),
    }
    return encode_document(document)


def decode_hashes(data: bytes) -> HashList:
    """Read what `encode_hashes` wrote.

    Raises
    ------
    MalformedRequest
        If it cannot be read.
    """
    document = decode_document(data)
    try:
        qualities: list[object] = list(document["quality"])
        joined = base64.b64decode(document["hash"], validate=True)
        if len(joined) != HASH_BYTES * sum(quality not in (None, _BLIND) for quality in qualities):
            raise ValueError("as many hashes as frames that were seen")
        hashes = (joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES))
        entries = tuple(
            None if quality is None else HashEntry(b"" if quality == _BLIND else next(hashes), _percent(quality))
            for quality in qualities
        )
        return HashList(parse_digest(document["root"]), entries)
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedRequest("the list of perceptual hashes cannot be read") from error


def _quality(entry: HashEntry | None) -> int | None:
    if entry is None:
        return None
    return entry.quality if entry.hash else _BLIND


def _percent(quality: object) -> int:
    if type(quality) is not int or not _BLIND <= quality <= _MOST:
        raise ValueError("a quality is a percentage")
    return max(quality, 0)
