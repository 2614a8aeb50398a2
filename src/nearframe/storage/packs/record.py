"""Records: what a pack consists of. Bytes <-> values.

A pack file starts with a file header, then records follow without gaps, each a header of
`HEADER_BYTES` and a body of `stored_length` bytes. All numbers are little endian::

    file header (32)                    record header (192)
     0  8s  "NFPACK\\r\\n"                0  4s  "NFR\\x01": magic and version
     8  B   version                      4  B   type
     9  B   role                         5  B   suite: 1 = AES-256-GCM
    10  2x                               6  B   kind (`ContentKind`)
    12  I   number                       7  B   coding: 0 as is, 1 zstd
    16  12x                              8  B   flags
    28  I   CRC-32 of the above          9  B   log2 of the chunk size
                                        10  2x
                                        12  I   carrier: in a DROP, the pack of the wrap it ends
                                        16  Q   plain length
                                        24  Q   stored length: bytes of body that follow
                                        32  32s content id
                                        64  8s  key tag: names the content key
                                        72  8s  nonce prefix of the chunks
                                        80  16s study key id
                                        96  12s wrap nonce: also names this wrap
                                       108  80s content key and digest, wrapped under the study's data key
                                       188  I   CRC-32 of the above

A **content** record holds a sealed content and, usually, the first wrap of its key. A
**wrap** record lets another study of the tenant open it. A **drop** ends one wrap, known by
its nonce. **Replaces**, first in the pack that a compaction wrote, lists the packs whose
survivors follow, as u32; its content id is the SHA-256 of the list. **Void** marks what died
before it counted: a copy not yet published, a record that a power cut tore.

The records of all packs, read in any order, say what there is: a wrap is live unless a drop
names it or its study's key is gone, and a content is live while one wrap for its key tag is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from nearframe.errors import IntegrityError
from nearframe.ids import sha256
from nearframe.storage.ports import Buffer

HEADER_BYTES: Final = 192
FILE_HEADER_BYTES: Final = 32
CONTENT_ID_BYTES: Final = 32
KEY_TAG_BYTES: Final = 8
NONCE_PREFIX_BYTES: Final = 8
KEY_ID_BYTES: Final = 16
WRAP_NONCE_BYTES: Final = 12
WRAPPED_BYTES: Final = 80  # 32 content key, 32 digest, 16 tag
TAG_BYTES: Final = 16
SUITE_AES_256_GCM: Final = 1
MAGIC: Final = b"NFR\x01"

_FILE_MAGIC = b"NFPACK\r\n"
_FILE_VERSION = 1
_FILE_HEADER = struct.Struct("<8sBB2xI12xI")
_HEADER = struct.Struct("<4sBBBBBBxxIQQ32s8s8s16s12s80sI")
_CRC_AT = HEADER_BYTES - 4


class RecordType(IntEnum):
    """What a record says. The numbers are on disk: never renumber."""

    CONTENT = 1
    WRAP = 2
    DROP = 3
    REPLACES = 4
    VOID = 5


class Role(IntEnum):
    """What a pack is for. The numbers are on disk: never renumber."""

    #: Grows record by record; its tail may be torn.
    LOG = 1
    #: Published whole, by renaming: one large content, or the survivors of a compaction.
    WHOLE = 2
    #: Replaced or empty; its file is being removed. Said by the index only.
    RETIRED = 3


class Coding(IntEnum):
    """What was done to a content before sealing. The numbers are on disk: never renumber."""

    NONE = 0
    ZSTD = 1


class Flags(IntFlag):
    """Bits of a record header."""

    NONE = 0
    #: A content record that carries a wrap.
    WRAPPED = 1


class RecordHeader(NamedTuple):
    """The header of one record; fields that a type does not use are zero."""

    type: RecordType
    content_id: bytes = bytes(CONTENT_ID_BYTES)
    key_tag: bytes = bytes(KEY_TAG_BYTES)
    study_key_id: bytes = bytes(KEY_ID_BYTES)
    wrap_nonce: bytes = bytes(WRAP_NONCE_BYTES)
    wrapped: bytes = bytes(WRAPPED_BYTES)
    nonce_prefix: bytes = bytes(NONCE_PREFIX_BYTES)
    kind: int = 0
    coding: Coding = Coding.NONE
    flags: Flags = Flags.NONE
    chunk_log2: int = 0
    carrier: int = 0
    plain_length: int = 0
    stored_length: int = 0

    @property
    def length(self) -> int:
        """Bytes of the whole record."""
        return HEADER_BYTES + self.stored_length

    @property
    def has_wrap(self) -> bool:
        return self.type is RecordType.WRAP or (self.type is RecordType.CONTENT and Flags.WRAPPED in self.flags)

    def without_wrap(self) -> RecordHeader:
        """Return the header of the same content, which carries no wrap."""
        return self._replace(
            flags=self.flags & ~Flags.WRAPPED,
            study_key_id=bytes(KEY_ID_BYTES),
            wrap_nonce=bytes(WRAP_NONCE_BYTES),
            wrapped=bytes(WRAPPED_BYTES),
        )

    def only_wrap(self) -> RecordHeader:
        """Return the header of a record that holds the wrap alone."""
        return RecordHeader(
            RecordType.WRAP,
            content_id=self.content_id,
            key_tag=self.key_tag,
            study_key_id=self.study_key_id,
            wrap_nonce=self.wrap_nonce,
            wrapped=self.wrapped,
        )

    def voided(self) -> RecordHeader:
        """Return the header of a record of the same length that says nothing."""
        return RecordHeader(RecordType.VOID, stored_length=self.stored_length)

    def encode(self) -> bytes:
        """Return the header as bytes."""
        head = _HEADER.pack(
            MAGIC,
            self.type,
            SUITE_AES_256_GCM,
            self.kind,
            self.coding,
            self.flags,
            self.chunk_log2,
            self.carrier,
            self.plain_length,
            self.stored_length,
            self.content_id,
            self.key_tag,
            self.nonce_prefix,
            self.study_key_id,
            self.wrap_nonce,
            self.wrapped,
            0,
        )[:_CRC_AT]
        return head + zlib.crc32(head).to_bytes(4, "little")


def decode_header(data: Buffer) -> RecordHeader:
    """Read a record header.

    Raises
    ------
    IntegrityError
        If `data` is not a record header of a version and suite known here.
    """
    if len(data) != HEADER_BYTES:
        raise IntegrityError("a pack ends inside a record header")
    (
        magic,
        type_,
        suite,
        kind,
        coding,
        flags,
        chunk_log2,
        carrier,
        plain_length,
        stored_length,
        content_id,
        key_tag,
        nonce_prefix,
        study_key_id,
        wrap_nonce,
        wrapped,
        crc,
    ) = _HEADER.unpack(data)
    if magic != MAGIC or crc != zlib.crc32(data[:_CRC_AT]):
        raise IntegrityError("not a record header")
    if suite != SUITE_AES_256_GCM:
        raise IntegrityError(f"a record is sealed with suite {suite}, which this version does not know")
    try:
        return RecordHeader(
            type=RecordType(type_),
            content_id=content_id,
            key_tag=key_tag,
            study_key_id=study_key_id,
            wrap_nonce=wrap_nonce,
            wrapped=wrapped,
            nonce_prefix=nonce_prefix,
            kind=kind,
            coding=Coding(coding),
            flags=Flags(flags),
            chunk_log2=chunk_log2,
            carrier=carrier,
            plain_length=plain_length,
            stored_length=stored_length,
        )
    except ValueError as error:
        raise IntegrityError("a record is of a type or coding that this version does not know") from error


def encode_replaces(numbers: Sequence[int]) -> tuple[RecordHeader, bytes]:
    """Return the record that says which packs another one replaces."""
    body = struct.pack(f"<{len(numbers)}I", *numbers)
    return RecordHeader(RecordType.REPLACES, content_id=sha256(body), stored_length=len(body)), body


def decode_replaces(header: RecordHeader, body: bytes) -> set[int]:
    """Return the packs that a record names.

    Raises
    ------
    IntegrityError
        If the list is not what its digest says.
    """
    if sha256(body) != header.content_id or len(body) % 4:
        raise IntegrityError("the list of replaced packs is damaged")
    return set(struct.unpack(f"<{len(body) // 4}I", body))


def encode_file_header(role: Role, number: int) -> bytes:
    """Return the header that a pack file starts with."""
    head = _FILE_HEADER.pack(_FILE_MAGIC, _FILE_VERSION, role, number, 0)[:-4]
    return head + zlib.crc32(head).to_bytes(4, "little")


def decode_file_header(data: Buffer) -> tuple[Role, int]:
    """Return role and number of a pack file.

    Raises
    ------
    IntegrityError
        If `data` is not the header of a pack of a version known here.
    """
    if len(data) != FILE_HEADER_BYTES:
        raise IntegrityError("a pack is shorter than its file header")
    magic, version, role, number, crc = _FILE_HEADER.unpack(data)
    if magic != _FILE_MAGIC or crc != zlib.crc32(data[:-4]):
        raise IntegrityError("not a pack file")
    if version != _FILE_VERSION:
        raise IntegrityError(f"a pack is of version {version}, which this version does not know")
    return Role(role), number
