"""Bulk data (PS3.18 section 10.4.1.1.6): one part or multipart, in ranges."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response

from nearframe.dicom.transfersyntax import transfer_syntax
from nearframe.dicomweb import frames, negotiation
from nearframe.dicomweb.answers import Resource, answer
from nearframe.dicomweb.call import Call
from nearframe.dicomweb.services import Services
from nearframe.query.body import Body, Held
from nearframe.query.retrieve_bulkdata import PIXEL_DATA_PATH, BulkData
from nearframe.storage.ports import InstanceRecord
from nearframe.wire import multipart
from nearframe.wire.accept import Representation


async def retrieve_bulkdata(services: Services, call: Call) -> Response:
    """Answer with the value at an address of the metadata."""
    record = await services.records.find(call.context, call.study, call.series, call.instance or "", call.version)
    path = call.request.path_params["path"].upper()
    if path == PIXEL_DATA_PATH and _is_framed(record):
        # Compressed pixel data is its frames, one part each.
        numbers = tuple(range(1, len(record.frames) + 1))
        planned = await frames.plan(services.frames, record, numbers, call.accepted)
        return await answer(call.request, frames.resource(call.context, services.frames, planned))
    value = await services.bulkdata.value(call.context, record, path)
    chosen = negotiation.bulkdata(call.accepted, value.media_type)
    return await answer(call.request, resource(value, chosen))


def resource(value: BulkData, chosen: Representation) -> Resource:
    """Return a bulk value as something to be answered with."""
    form = chosen.essence.partition("/")[2]
    if not chosen.multipart:
        return Resource(f'"{value.digest.hex()}-s.{form}"', chosen.essence, _opened(value.body))
    boundary = multipart.boundary_for(value.digest)
    head = multipart.part_head(boundary, chosen.essence, first=True, length=value.body.size)
    body = Body([Held(head), *value.body.segments, Held(multipart.closing(boundary))])
    content_type = multipart.content_type(boundary, chosen.media_type)
    return Resource(f'"{value.digest.hex()}-m.{form}"', content_type, _opened(body))


def _opened(body: Body) -> Callable[[], Awaitable[Body]]:
    async def opener() -> Body:
        return body

    return opener


def _is_framed(record: InstanceRecord) -> bool:
    return len(record.frames) > 0 and transfer_syntax(record.transfer_syntax_uid).encapsulated
