"""Pictures, videos and documents as people see them (PS3.18 sections 10.4.1.1.3 and 10.4.1.1.4)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import Final

from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.context import Context
from nearframe.dicom.model import DICOMJSON, PixelDescription
from nearframe.dicom.render import RenderOptions, render, render_animation
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.dicom.transfersyntax import transfer_syntax
from nearframe.errors import MalformedDICOM, NearframeError, NotAcceptable
from nearframe.ids import Digest, sha256
from nearframe.query.contents import ContentReader
from nearframe.query.retrieve_bulkdata import (
    ENCAPSULATED_DOCUMENT_PATH,
    PIXEL_DATA_PATH,
    BulkData,
    BulkDataService,
)
from nearframe.query.retrieve_frames import undecodable
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, InstanceRecord

_PARAMETERS_KEPT: Final = 2000
#: Tables that are not inline; palettes have three, a LUT one.
_MAX_TABLES: Final = 16
#: Changes when the same request would give another picture: part of every validator.
_RENDERER: Final = b"1"


class Kind(Enum):
    """What people see of an object."""

    IMAGE = "image"
    VIDEO = "video"
    DOCUMENT = "document"
    NOTHING = "nothing"


def kind_of(record: InstanceRecord) -> Kind:
    """Return what an object can be shown as."""
    syntax = transfer_syntax(record.transfer_syntax_uid)
    if syntax.is_video:
        return Kind.VIDEO
    if record.pixel is not None and len(record.frames) > 0 and syntax.is_decodable:
        return Kind.IMAGE
    if record.identity.sop_class_uid in _DOCUMENT_CLASSES:
        return Kind.DOCUMENT
    return Kind.NOTHING


#: Encapsulated PDF; other documents (CDA, STL, OBJ) are not what /rendered gives.
_DOCUMENT_CLASSES: Final = frozenset({"1.2.840.10008.5.1.4.1.1.104.1"})


def representative(records: Sequence[InstanceRecord]) -> InstanceRecord:
    """Return the instance that stands for a series or study: the middle image of its largest series.

    Raises
    ------
    NotAcceptable
        If none can be shown.
    """
    by_series: dict[str, list[InstanceRecord]] = defaultdict(list)
    for record in records:
        if kind_of(record) is Kind.IMAGE:
            by_series[record.identity.series_instance_uid].append(record)
    if by_series:
        largest = max(by_series.values(), key=len)
        return largest[len(largest) // 2]
    others = [record for record in records if kind_of(record) is not Kind.NOTHING]
    if not others:
        raise NotAcceptable("nothing here has a picture")
    return others[0]


def middle_frame(record: InstanceRecord) -> int:
    """Return the frame that stands for the others, counted from one: a cine often begins black."""
    return len(record.frames) // 2 + 1


class RenderedService:
    """Makes pictures.

    Parameters
    ----------
    cache_bytes
        Pictures kept in memory.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        contents: ContentReader,
        bulkdata: BulkDataService,
        sql: Workers,
        cpu: Workers,
        *,
        cache_bytes: int,
    ) -> None:
        self._catalogue = catalogue
        self._contents = contents
        self._bulkdata = bulkdata
        self._sql = sql
        self._cpu = cpu
        self._pictures: SizedLRU[Digest, bytes] = SizedLRU(cache_bytes)
        self._flights: SingleFlight[Digest, bytes] = SingleFlight("render")
        self._parameters: SizedLRU[tuple[Digest, int], RenderParameters] = SizedLRU(_PARAMETERS_KEPT)

    def digest(self, record: InstanceRecord, frames: Sequence[int], options: RenderOptions) -> Digest:
        """Return what a picture depends on, as a digest."""
        return sha256(b"\0".join((_RENDERER, record.file, repr((tuple(frames), options)).encode())))

    async def picture(
        self, context: Context, record: InstanceRecord, frame_numbers: Sequence[int], options: RenderOptions
    ) -> bytes:
        """Return a frame as a picture; several as a moving one.

        Raises
        ------
        NotAcceptable, MalformedDICOM, LimitExceeded, MalformedRequest, UpstreamError
        """
        key = self.digest(record, frame_numbers, options)
        held = self._pictures.get(key)
        if held is not None:
            return held
        return await self._flights.run(key, partial(self._render, context, record, tuple(frame_numbers), options, key))

    async def video(self, context: Context, record: InstanceRecord) -> BulkData:
        """Return a video as the stream that is stored."""
        return await self._bulkdata.value(context, record, PIXEL_DATA_PATH)

    async def document(self, context: Context, record: InstanceRecord) -> BulkData:
        """Return an encapsulated document."""
        return await self._bulkdata.value(context, record, ENCAPSULATED_DOCUMENT_PATH)

    async def _render(
        self,
        context: Context,
        record: InstanceRecord,
        frame_numbers: tuple[int, ...],
        options: RenderOptions,
        key: Digest,
    ) -> bytes:
        pixel = record.pixel
        if pixel is None:
            raise NotAcceptable("this object has no picture")
        parameters = [await self._parameters_of(context, record, number) for number in frame_numbers[:1]]
        encoded = [
            await self._contents.read(context, record.study, record.frames.enc_of(number - 1))
            for number in frame_numbers
        ]
        try:
            picture = await self._cpu.run(_picture, encoded, record.transfer_syntax_uid, pixel, parameters, options)
        except MalformedDICOM as error:
            raise undecodable(error) from error
        self._pictures.put(key, picture, len(picture))
        return picture

    async def _parameters_of(self, context: Context, record: InstanceRecord, frame_number: int) -> RenderParameters:
        key = (record.file, frame_number)
        known = self._parameters.get(key)
        if known is not None:
            return known
        identity = record.identity
        rows = await self._sql.run(
            self._catalogue.metadata,
            record.study,
            identity.series_instance_uid,
            identity.sop_instance_uid,
            version=record.version,
        )
        metadata = await self._cpu.run(json.loads, rows[0][1])
        parameters = await self._read_parameters(context, record, metadata, frame_number)
        self._parameters.put(key, parameters, 1)
        return parameters

    async def _read_parameters(
        self, context: Context, record: InstanceRecord, metadata: DICOMJSON, frame_number: int
    ) -> RenderParameters:
        """Read the parameters, fetching the tables they turn out to need one after the other."""
        tables: dict[str, bytes] = {}

        def read(path: str) -> bytes:
            if path not in tables:
                raise _TableNeeded(path)
            return tables[path]

        for _ in range(_MAX_TABLES):
            try:
                return await self._cpu.run(RenderParameters.from_metadata, metadata, frame_number - 1, read)
            except _TableNeeded as needed:
                value = await self._bulkdata.value(context, record, needed.path.removeprefix("bulkdata/"))
                tables[needed.path] = await value.body.read()
        return await self._cpu.run(RenderParameters.from_metadata, metadata, frame_number - 1, None)


class _TableNeeded(NearframeError):
    def __init__(self, path: str) -> None:
        super().__init__("a table that is not inline")
        self.path = path


def _picture(
    encoded: list[bytes],
    transfer_syntax_uid: str,
    pixel: PixelDescription,
    parameters: list[RenderParameters],
    options: RenderOptions,
) -> bytes:
    if len(encoded) == 1:
        return render(encoded[0], transfer_syntax_uid, pixel, parameters[0], options)
    return render_animation(encoded, transfer_syntax_uid, pixel, parameters, options)
