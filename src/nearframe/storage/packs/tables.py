"""The values of the index's tables. Bytes <-> values.

::

    contents   content id                        -> one or, rarely, more `Entry`
    wraps      study key id, content id          -> `Wrap`
    holders    content id, key tag, study key id -> nothing: studies beyond the entry's own `holder`
    drops      wrap nonce                        -> `Drop`
    segments   pack number, big endian           -> `SegmentUse`

They are named tuples, since each look-up makes two of them.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from nearframe.storage.packs.record import HEADER_BYTES, KEY_ID_BYTES, Coding
from nearframe.storage.packs.seal import Form

#: The number of no pack: a content whose place is not known, or lost.
NOWHERE: Final = 0
#: The key id of no study.
NO_HOLDER: Final = bytes(KEY_ID_BYTES)

_ENTRY = struct.Struct("<8s8sIQQQ16sIBBB?")
_WRAP = struct.Struct("<8s12s80sI?")
_DROP = struct.Struct("<II")
_SEGMENT_USE = struct.Struct("<BQQIQ")
_NUMBER = struct.Struct(">I")


class Entry(NamedTuple):
    """Where a sealed content is, and how many studies hold it.

    Attributes
    ----------
    segment, offset
        Pack, and where in it the record starts. `NOWHERE` if the bytes are lost.
    holder
        One of the studies that hold it, by key id.
    coding
        A `Coding`.
    damaged
        The bytes did not open: kept out of every answer until stored again.
    """

    key_tag: bytes
    nonce_prefix: bytes = bytes(8)
    segment: int = NOWHERE
    offset: int = 0
    plain_length: int = 0
    stored_length: int = 0
    holder: bytes = NO_HOLDER
    references: int = 0
    kind: int = 0
    coding: int = Coding.NONE
    chunk_log2: int = 0
    damaged: bool = False

    @property
    def readable(self) -> bool:
        return self.segment != NOWHERE and not self.damaged

    @property
    def record_length(self) -> int:
        return HEADER_BYTES + self.stored_length

    def form(self, content_id: bytes) -> Form:
        return Form(
            content_id,
            self.nonce_prefix,
            self.kind,
            self.coding,
            self.chunk_log2,
            self.plain_length,
            self.stored_length,
        )


class Wrap(NamedTuple):
    """A content key under a study's data key.

    Attributes
    ----------
    carrier
        The pack of the record that carries it.
    own_record
        That record is there for it alone; otherwise it came with the content.
    """

    key_tag: bytes
    wrap_nonce: bytes
    wrapped: bytes
    carrier: int
    own_record: bool

    def encode(self) -> bytes:
        return _WRAP.pack(*self)

    @classmethod
    def decode(cls, data: bytes) -> Wrap:
        return cls(*_WRAP.unpack(data))


class Drop(NamedTuple):
    """The end of a wrap: needed as long as the pack that carries the wrap exists.

    Attributes
    ----------
    carrier
        The pack of the ended wrap.
    segment
        The pack of the record that ends it.
    """

    carrier: int
    segment: int

    def encode(self) -> bytes:
        return _DROP.pack(*self)

    @classmethod
    def decode(cls, data: bytes) -> Drop:
        return cls(*_DROP.unpack(data))


class SegmentUse(NamedTuple):
    """How far a pack is taken into the index, and how much of that is alive.

    Attributes
    ----------
    role
        A `Role`.
    contents, plain_bytes
        Contents that stand here, and their bytes before sealing and compression.
    """

    role: int
    covered_bytes: int = 0
    live_bytes: int = 0
    contents: int = 0
    plain_bytes: int = 0

    def encode(self) -> bytes:
        return _SEGMENT_USE.pack(*self)

    @classmethod
    def decode(cls, data: bytes) -> SegmentUse:
        return cls(*_SEGMENT_USE.unpack(data))


def encode_entries(entries: list[Entry]) -> bytes:
    """Return the entries of one content as bytes."""
    return b"".join(_ENTRY.pack(*entry) for entry in entries)


def decode_entries(data: bytes) -> list[Entry]:
    """Return the entries of one content."""
    return [Entry._make(fields) for fields in _ENTRY.iter_unpack(data)]


def encode_number(segment: int) -> bytes:
    """Return a pack number as a key."""
    return _NUMBER.pack(segment)


def decode_number(key: bytes) -> int:
    """Return the pack number that a key names."""
    number: int = _NUMBER.unpack(key)[0]
    return number
