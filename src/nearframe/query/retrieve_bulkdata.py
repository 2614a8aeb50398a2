"""Bulk data: large values at the addresses the metadata gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nearframe.context import Context
from nearframe.dicom.bulk import BulkValue, find_value
from nearframe.dicom.limits import Limits
from nearframe.dicom.transfersyntax import OCTET_STREAM, transfer_syntax
from nearframe.ids import Digest, sha256
from nearframe.query.body import Body
from nearframe.query.contents import ContentReader
from nearframe.query.parsed_header import ParsedHeader, parse_header
from nearframe.query.stored_file import piece_digest
from nearframe.query.workers import Workers
from nearframe.storage.ports import InstanceRecord
from nearframe.wire.header import Hole

PIXEL_DATA_PATH: Final = "7FE00010"
ENCAPSULATED_DOCUMENT_PATH: Final = "00420011"
_MIME_TYPE: Final = 0x00420012
_DOCUMENT_LENGTH: Final = 0x00420015

#: Media types a document may name that a browser shows and does not run.
_DOCUMENT_TYPES: Final = frozenset({"application/pdf", "text/plain", "model/stl", "model/obj", "model/mtl"})


@dataclass(frozen=True, slots=True)
class BulkData:
    """A value and what it is.

    Attributes
    ----------
    digest
        Equal digests, equal bytes.
    """

    media_type: str
    body: Body
    digest: Digest


class BulkDataService:
    """Gives bulk values."""

    def __init__(self, contents: ContentReader, cpu: Workers, limits: Limits) -> None:
        self._contents = contents
        self._cpu = cpu
        self._limits = limits

    async def value(self, context: Context, record: InstanceRecord, path: str) -> BulkData:
        """Return a value by its path within the instance: ``<tag>`` or ``<tag>/<item index>/<tag>``.

        The fragments of an encapsulated value are joined: a video comes as its stream.

        Raises
        ------
        NotFound
            If the instance has no such value.
        """
        header = await parse_header(context, self._contents, self._cpu, record, self._limits)
        found = find_value(header.part10.dataset, path)
        slices, document_bytes = found.slices, None
        if path == ENCAPSULATED_DOCUMENT_PATH:
            document_bytes = _number(header, _DOCUMENT_LENGTH)
        segments = [header.value(part.offset, part.length, found.swapped_bytes) for part in slices]
        body = Body(segments)
        if document_bytes is not None and len(slices) == 1 and slices[0].length - 1 == document_bytes:
            body = Body([header.value(slices[0].offset, document_bytes)])  # without the byte of padding
        return BulkData(_media_type(record, header, path), body, _digest(record, header, found, path))


def _media_type(record: InstanceRecord, header: ParsedHeader, path: str) -> str:
    if path == ENCAPSULATED_DOCUMENT_PATH:
        named = header.part10.dataset.text(_MIME_TYPE).lower()
        return named if named in _DOCUMENT_TYPES else OCTET_STREAM
    syntax = transfer_syntax(record.transfer_syntax_uid)
    return syntax.media_type if path == PIXEL_DATA_PATH and syntax.is_video else OCTET_STREAM


def _number(header: ParsedHeader, tag: int) -> int | None:
    element = header.part10.dataset.by_tag.get(tag)
    if element is None or element.length != 4:
        return None
    return int.from_bytes(header.part10.dataset.value(element), "little")


def _digest(record: InstanceRecord, header: ParsedHeader, found: BulkValue, path: str) -> Digest:
    """Return the digest of the piece the value is, or one of file and path where it is none."""
    if not header.part10.is_deflated and len(found.slices) == 1 and found.swapped_bytes == 1:
        parts = list(header.source.parts(found.slices[0]))
        if len(parts) == 1 and isinstance(parts[0], Hole):
            return piece_digest(record, parts[0].piece_index)
    return sha256(record.file + path.encode())
