"""The list of a study's renditions: other encodings of its frames, equal in pixels.

Renditions are made after an instance was stored and may be dropped at any time, so they
are no part of a manifest. The list follows the frames of the manifest with that root, in
its order; compressed JSON::

    {"root": "<root>", "tsuid": "<transfer syntax>",
     "digest": "<base64, zeros where a frame has none>",
     "len": [bytes, ...], "off": [[bytes, ...], ...],      of those that have one
     "making": true}                                       there will be more

`off` says where each lower resolution is complete, smallest first. `making` is absent
where nothing is known to be under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nearframe.errors import MalformedRequest
from nearframe.ids import DIGEST_BYTES, Digest, parse_digest
from nearframe.wire.canonical import JSONObject
from nearframe.wire.document import decode_document, encode_document
from nearframe.wire.manifest import LARGEST_NUMBER, digests_from_text, digests_to_text, split_digests, string_or_fail

_NONE = bytes(DIGEST_BYTES)


class RenditionEntry(NamedTuple):
    """Another encoding of a frame."""

    digest: Digest
    length: int
    resolution_offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RenditionList:
    """The renditions of the frames of a manifest, in one encoding; None where a frame has none.

    Attributes
    ----------
    making
        Whether more are being made: it is worth asking again soon.
    """

    root: Digest
    transfer_syntax_uid: str
    entries: tuple[RenditionEntry | None, ...]
    making: bool = False


def encode_renditions(renditions: RenditionList) -> bytes:
    """Return the list as compressed JSON."""
    made = [entry for entry in renditions.entries if entry is not None]
    document: JSONObject = {
        "root": renditions.root.hex(),
        "tsuid": renditions.transfer_syntax_uid,
        "digest": digests_to_text(b"".join(entry.digest if entry else _NONE for entry in renditions.entries)),
        "len": [entry.length for entry in made],
        "off": [list(entry.resolution_offsets) for entry in made],
    }
    return encode_document(document | ({"making": True} if renditions.making else {}))


def decode_renditions(data: bytes) -> RenditionList:
    """Read what `encode_renditions` wrote.

    Raises
    ------
    MalformedRequest
        If it cannot be read.
    """
    document = decode_document(data)
    try:
        digests = list(split_digests(digests_from_text(document["digest"])))
        made = iter(zip(document["len"], document["off"], strict=True))
        entries = [None if digest == _NONE else _entry(digest, *next(made)) for digest in digests]
        if next(made, None) is not None:
            raise ValueError("more lengths than digests")
        root, uid = parse_digest(document["root"]), string_or_fail(document["tsuid"])
        return RenditionList(root, uid, tuple(entries), document.get("making") is True)
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise MalformedRequest("the list of renditions cannot be read") from error


def _entry(digest: Digest, length: int, offsets: Sequence[int]) -> RenditionEntry:
    if any(type(number) is not int or not 0 <= number <= LARGEST_NUMBER for number in (length, *offsets)):
        raise ValueError("a length or offset is a natural number")
    return RenditionEntry(digest, length, tuple(offsets))
