"""What a client says when it asks for a study: what it holds, named as shortly as that can be.

A client names the root of the state whose manifest it holds. Of that state it lacks
nothing, or it sends a bit for each header and each content (`studycontents`) that it
lacks: a thousand slices are 125 bytes. All of it is the client's own knowledge, so any
node can go on where another one stopped. JSON form::

    {"from": "<root>", "levels": 4,
     "lacks": {"headers": "<base64>", "contents": "<base64>"},      bitmaps
     "parts": "<base64>"}          of contents that arrived in part: number, form, bytes held

A client whose root a node has forgotten is sent the manifest, names that root, and says
what it lacks of it: one request more, and still nothing moves that is held.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from typing import NamedTuple

from nearframe.errors import MalformedRequest
from nearframe.ids import Digest, parse_digest
from nearframe.wire.canonical import JSON, JSONObject

#: Resolutions are halved at most so often (T.800 table A.15).
MAX_LEVELS = 33
_FORM_BYTES = 4
_PART = struct.Struct(f"<I{_FORM_BYTES}sQ")


class Part(NamedTuple):
    """The beginning of a content that a client holds.

    Attributes
    ----------
    number
        Of the content, in the state the client names.
    form
        The first bytes of the digest of the form it is of.
    """

    number: int
    form: bytes
    length: int

    def is_of(self, digest: Digest) -> bool:
        """Return whether it is the beginning of this form."""
        return digest.startswith(self.form)


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """What a client holds and can read.

    Attributes
    ----------
    root
        Of the state whose manifest it holds; None if it holds none.
    levels
        How many of the lowest resolutions it wants of every picture before the rest of any;
        None if it wants frames as they are stored only.
    lacking_headers, lacking_contents
        Bitmaps over the instances and contents of that state.
    """

    root: Digest | None = None
    levels: int | None = None
    lacking_headers: bytes = b""
    lacking_contents: bytes = b""
    parts: tuple[Part, ...] = ()

    @property
    def is_plain(self) -> bool:
        """True if a query string says it all."""
        return not (self.lacks_something or self.parts)

    @property
    def lacks_something(self) -> bool:
        return any(self.lacking_headers) or any(self.lacking_contents)

    def to_query(self) -> dict[str, str]:
        """Return the query of a plain request."""
        query = {} if self.root is None else {"from": self.root.hex()}
        return query if self.levels is None else {**query, "levels": str(self.levels)}

    def to_json(self) -> JSONObject:
        """Return the JSON form; members that would be empty are left out."""
        document: JSONObject = {}
        if self.root is not None:
            document["from"] = self.root.hex()
        if self.levels is not None:
            document["levels"] = self.levels
        if self.lacks_something:
            document["lacks"] = {"headers": _text(self.lacking_headers), "contents": _text(self.lacking_contents)}
        if self.parts:
            document["parts"] = _text(b"".join(_PART.pack(*part) for part in self.parts))
        return document

    @classmethod
    def from_json(cls, document: JSON) -> SyncRequest:
        """Read the JSON form.

        Raises
        ------
        MalformedRequest
            If it cannot be read.
        """
        try:
            lacks = document.get("lacks", {})
            return cls(
                root=_root(document.get("from")),
                levels=_levels(document.get("levels")),
                lacking_headers=_bytes(lacks.get("headers", "")),
                lacking_contents=_bytes(lacks.get("contents", "")),
                parts=tuple(Part(*fields) for fields in _PART.iter_unpack(_bytes(document.get("parts", "")))),
            )
        except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
            raise MalformedRequest("what a client says it holds cannot be read") from error

    @classmethod
    def from_query(cls, root: str | None, levels: str | None) -> SyncRequest:
        """Read the query of a plain request; raises `MalformedRequest`."""
        try:
            return cls(_root(root), None if levels is None else _levels(int(levels)))
        except (TypeError, ValueError) as error:
            raise MalformedRequest("from is a SHA-256 in hex, levels a whole number") from error


def part_of(number: int, form: Digest, length: int) -> Part:
    """Return how a client names the first `length` bytes of a form of a content."""
    return Part(number, form[:_FORM_BYTES], length)


def _root(text: str | None) -> Digest | None:
    return None if text is None else parse_digest(text)


def _levels(value: int | None) -> int | None:
    if value is not None and not (type(value) is int and 0 <= value <= MAX_LEVELS):
        raise ValueError("no number of resolutions")
    return value


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
