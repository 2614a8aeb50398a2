"""Values as the columns of a version hold them."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import zstandard

from nearframe.dicom.model import PixelDescription
from nearframe.errors import BackendFailed
from nearframe.ids import DIGEST_BYTES
from nearframe.storage import zstd
from nearframe.storage.catalogue.attributes import dump
from nearframe.storage.ports import BulkEntry, ContentKind

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BULK: Final = struct.Struct(f"<BIQ{DIGEST_BYTES}s")


def microseconds(moment: datetime) -> int:
    """Return a time as whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Return the time `value` microseconds after 1970, UTC."""
    return _EPOCH + timedelta(microseconds=value)


def pack_bulk(entries: tuple[BulkEntry, ...]) -> bytes:
    """Return bulk entries as bytes: kind, tag, length, digest."""
    return b"".join(_BULK.pack(e.kind, e.tag, e.length, e.digest) for e in entries)


def unpack_bulk(data: bytes) -> tuple[BulkEntry, ...]:
    """Read what `pack_bulk` wrote."""
    return tuple(
        BulkEntry(ContentKind(kind), tag, digest, length) for kind, tag, length, digest in _BULK.iter_unpack(data)
    )


def pack_pieces(pieces: tuple[int, ...], frame_count: int) -> bytes:
    """Return piece references as bytes; empty for the usual case, the frames in order and nothing else."""
    if pieces == tuple(range(frame_count)):
        return b""
    return struct.pack(f"<{len(pieces) + 1}i", len(pieces), *pieces)


def unpack_pieces(data: bytes, frame_count: int) -> tuple[int, ...]:
    """Read what `pack_pieces` wrote."""
    if not data:
        return tuple(range(frame_count))
    return struct.unpack(f"<{len(data) // 4}i", data)[1:]


@lru_cache(maxsize=256)
def pack_pixel(pixel: PixelDescription | None) -> bytes | None:
    """Return a pixel description as JSON."""
    return None if pixel is None else dump(asdict(pixel))


@lru_cache(maxsize=256)
def unpack_pixel(data: bytes | None) -> PixelDescription | None:
    """Read what `pack_pixel` wrote; the slices of a series share one value."""
    return None if data is None else PixelDescription(**json.loads(data))


def pack_metadata(plain: bytes) -> bytes:
    """Compress the DICOM JSON of an instance."""
    return zstd.compressor().compress(plain)


def unpack_metadata(data: bytes) -> bytes:
    """Decompress what `pack_metadata` wrote."""
    try:
        return zstd.decompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise BackendFailed("the catalogue holds metadata that does not decompress") from error
