"""Instances that arrive as metadata and bulk data (PS3.18 section 10.5.2): put together into files.

Metadata parts come first, bulk data parts name by Content-Location the BulkDataURI that
they are the value of. They wait in the spool until the request is complete; then each
instance is written, again into the spool, and taken in like any other file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nearframe.dicom.build import BuiltFile, build
from nearframe.dicom.bulk import PIXEL_DATA_TAGS
from nearframe.dicom.codecs import MAX_FRAME_BYTES, read_codestream
from nearframe.dicom.dicomxml import from_xml
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import DICOMJSON, Source
from nearframe.dicom.transfersyntax import (
    HTJ2K,
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    default_syntax_of,
    transfer_syntax,
)
from nearframe.dicomweb.ports import IncomingPart
from nearframe.errors import LimitExceeded, MalformedDICOM, RequestError, StorageError
from nearframe.ids import Identity
from nearframe.intake.spool import Spool, Spooled
from nearframe.wire.mediatype import MediaType, parse_media_type

JSON_TYPES = frozenset({"application/dicom+json", "application/json"})
XML_TYPES = frozenset({"application/dicom+xml", "application/xml", "text/xml"})

#: Objects of one JSON part that are not inside another, and values in all: each costs its parser 60 bytes and more.
MAX_JSON_INSTANCES = 10_000
MAX_JSON_VALUES = 4_000_000

_OCTETS = MediaType("application/octet-stream")

_LOSSY = {
    JPEGLosslessSV1: JPEGBaseline8Bit,
    JPEGLSLossless: JPEGLSNearLossless,
    JPEG2000Lossless: JPEG2000,
    HTJ2KLossless: HTJ2K,
}


@dataclass(frozen=True, slots=True)
class NotAssembled:
    """Metadata of which no file could be made."""

    error: RequestError | StorageError
    identity: Identity | None = None


@dataclass(slots=True)
class _Value:
    """The parts of one Content-Location: one, or one for each frame."""

    media_type: MediaType
    parts: list[Spooled] = field(default_factory=list)


class Assembly:
    """The metadata and bulk data parts of one request. Close it, to give their room back."""

    def __init__(self, spool: Spool, limits: Limits) -> None:
        self._spool = spool
        self._limits = limits
        self._documents: list[tuple[bool, Spooled]] = []
        self._values: dict[str, _Value] = {}

    async def add_metadata(self, part: IncomingPart, *, is_xml: bool) -> None:
        """Receive a metadata part."""
        spooled = await self._spool.receive(part.body)
        self._documents.append((is_xml, spooled))
        if spooled.size > self._limits.max_header_bytes:
            raise LimitExceeded("max_header_bytes", self._limits.max_header_bytes, spooled.size)

    async def add_bulk(self, part: IncomingPart) -> None:
        """Receive a bulk data part."""
        content_type = part.headers.get("content-type")
        media_type = parse_media_type(content_type) if content_type else _OCTETS
        value = self._values.setdefault(part.headers["content-location"].strip(), _Value(media_type))
        value.parts.append(await self._spool.receive(part.body))

    async def files(self) -> AsyncIterator[Spooled | NotAssembled]:
        """Yield a file for each instance described, or why there is none. The caller closes the files."""
        for is_xml, document in self._documents:
            try:
                described = await asyncio.to_thread(_read, document, is_xml, self._limits)
            except RequestError as error:
                yield NotAssembled(error)
                continue
            for metadata in described:
                yield await self._file(metadata)

    def close(self) -> None:
        for _, document in self._documents:
            document.close()
        for value in self._values.values():
            for part in value.parts:
                part.close()

    async def _file(self, metadata: DICOMJSON) -> Spooled | NotAssembled:
        try:
            built = build(metadata, self._find, self._transfer_syntax_of(metadata), self._limits)
            return await self._spool.receive(_chunks(built), built.size)
        except (RequestError, StorageError) as error:
            return NotAssembled(error, _identity_of(metadata))

    def _find(self, uri: str) -> Sequence[Source]:
        value = self._values.get(uri.strip())
        return value.parts if value else ()

    def _transfer_syntax_of(self, metadata: DICOMJSON) -> str:
        """Return what the media type of the pixel data says; without one, it is uncompressed."""
        for tag in PIXEL_DATA_TAGS:
            attribute = metadata.get(f"{tag:08X}")
            uri = attribute.get("BulkDataURI") if isinstance(attribute, Mapping) else None
            value = self._values.get(uri.strip()) if isinstance(uri, str) else None
            if value is not None:
                return _transfer_syntax_of(value)
        return ExplicitVRLittleEndian


def _transfer_syntax_of(value: _Value) -> str:
    """Return the transfer syntax that pixel data came in (PS3.18 Table 8.7.3-4)."""
    named = value.media_type.get("transfer-syntax")
    if named:
        return named
    default = default_syntax_of(value.media_type.essence)
    if default is None:
        raise MalformedDICOM("the bulk data of the pixels is of a type that names no transfer syntax")
    first = value.parts[0]
    if default not in _LOSSY or first.size > MAX_FRAME_BYTES:
        return default
    # The default of a media type is lossless. Senders that name none send lossy streams as well,
    # and a file must not call them lossless.
    stream = read_codestream(first.read(0, first.size), transfer_syntax(default).codec)
    if stream is None or stream.is_lossless:
        return default
    return JPEGExtended12Bit if default == JPEGLosslessSV1 and stream.bits > 8 else _LOSSY[default]


def _read(document: Spooled, is_xml: bool, limits: Limits) -> list[DICOMJSON]:
    data = document.read(0, document.size)
    if is_xml:
        return [from_xml(data, limits)]
    # Counted before it is parsed: 60 MB of empty objects become 2 GB.
    values = sum(map(data.count, (b"{", b"[", b",")))
    if values > MAX_JSON_VALUES:
        raise LimitExceeded("values of JSON metadata", MAX_JSON_VALUES, values)
    try:
        read = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedDICOM("the metadata is no JSON") from error
    instances = read if isinstance(read, list) else [read]
    if not all(isinstance(instance, dict) for instance in instances):
        raise MalformedDICOM("the metadata is no DICOM JSON: an array of objects")
    if len(instances) > MAX_JSON_INSTANCES:
        raise LimitExceeded("instances of JSON metadata", MAX_JSON_INSTANCES, len(instances))
    return instances


async def _chunks(built: BuiltFile) -> AsyncIterator[bytes]:
    for chunk in built.chunks():
        yield chunk


def _identity_of(metadata: DICOMJSON) -> Identity | None:
    sop_class, sop_instance, series, study = _uids(metadata, "00080016", "00080018", "0020000E", "0020000D")
    return Identity(sop_class, sop_instance, series, study) if sop_instance else None


def _uids(metadata: DICOMJSON, *tags: str) -> Iterator[str]:
    for tag in tags:
        attribute = metadata.get(tag)
        values = attribute.get("Value") if isinstance(attribute, Mapping) else None
        yield str(values[0]) if isinstance(values, list) and values else ""
