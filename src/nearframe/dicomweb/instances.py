"""Whole instances of a study, a series, or one (PS3.18 section 10.4.1.1.1)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from starlette.responses import Response

from nearframe.dicom.targets import DEFAULT
from nearframe.dicomweb import negotiation
from nearframe.dicomweb.address import instance_path
from nearframe.dicomweb.answers import Resource, answer
from nearframe.dicomweb.call import Call
from nearframe.dicomweb.services import Services
from nearframe.errors import NotAcceptable
from nearframe.ids import sha256_of
from nearframe.query.body import Body, Held, Segment, Streamed
from nearframe.query.retrieve_instances import InstanceService
from nearframe.storage.ports import InstanceRecord
from nearframe.wire import multipart
from nearframe.wire.accept import DICOM, Representation
from nearframe.wire.mediatype import MediaType


async def retrieve_instances(services: Services, call: Call) -> Response:
    """Answer with the instances of a study or series, or with one."""
    records = await _records(services, call)
    chosen = negotiation.instances(call.accepted, services.instances.syntaxes(records))
    wanted = chosen.offer.transfer_syntax or DEFAULT
    if len(records) > 1 and not chosen.multipart:
        raise NotAcceptable("several instances go into one multipart/related answer; accept that")
    targets = [services.instances.target(record, wanted) for record in records]
    if wanted == DEFAULT and len(records) == 1:
        targets = [await services.instances.possible(call.context, records[0], targets[0])]
    return await answer(call.request, _resource(services.instances, call, records, targets, chosen))


async def _records(services: Services, call: Call) -> list[InstanceRecord]:
    if call.instance is None:
        return await services.records.list(call.context, call.study, call.series, at_seq=call.version)
    return [await services.records.find(call.context, call.study, call.series, call.instance, call.version)]


def _resource(
    service: InstanceService,
    call: Call,
    records: Sequence[InstanceRecord],
    targets: Sequence[str],
    chosen: Representation,
) -> Resource:
    digest = sha256_of(record.file + target.encode() for record, target in zip(records, targets, strict=True))
    if not chosen.multipart:
        record, target = records[0], targets[0]
        etag = f'"{record.file.hex()}-s.{target}"'
        return Resource(etag, f"{DICOM}; transfer-syntax={target}", lambda: service.file(call.context, record, target))
    boundary = multipart.boundary_for(digest)
    common = targets[0] if len(set(targets)) == 1 else None
    part = MediaType(DICOM, {} if common is None else {"transfer-syntax": common})

    async def body() -> Body:
        if len(records) == 1:
            segments = await _only_part(service, call, boundary, records[0], targets[0])
        else:
            pairs = enumerate(zip(records, targets, strict=True))
            segments = [part for i, pair in pairs for part in _part(service, call, boundary, i, *pair)]
        return Body([*segments, Held(multipart.closing(boundary))])

    return Resource(f'"{digest.hex()}-m"', multipart.content_type(boundary, part), body)


async def _only_part(
    service: InstanceService, call: Call, boundary: str, record: InstanceRecord, target: str
) -> list[Segment]:
    """Return an instance with its head, opened before the answer begins, which then knows its length."""
    given = await service.possible(call.context, record, target)
    body = await service.file(call.context, record, given)
    return [Held(_head(call, boundary, 0, record, given, body.size)), *body.segments]


def _part(
    service: InstanceService, call: Call, boundary: str, index: int, record: InstanceRecord, target: str
) -> list[Segment]:
    """Return an instance with its head, opened only when its turn comes: a study has thousands."""
    stored = record.transfer_syntax_uid

    async def as_stored(start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        body = await service.file(call.context, record, stored)
        async for chunk in body.open(start, stop):
            yield chunk

    async def made(start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        # One frame that cannot be decoded must not cost a client the rest of the study.
        given = await service.possible(call.context, record, target)
        body = await service.file(call.context, record, given)
        yield _head(call, boundary, index, record, given, body.size)
        async for chunk in body.open():
            yield chunk

    if target != stored:
        return [Streamed(None, made)]
    head = _head(call, boundary, index, record, stored, record.file_bytes)
    return [Held(head), Streamed(record.file_bytes, as_stored)]


def _head(call: Call, boundary: str, index: int, record: InstanceRecord, target: str, length: int | None) -> bytes:
    location = call.service_url + instance_path(record.identity)
    part = f"{DICOM}; transfer-syntax={target}"
    return multipart.part_head(boundary, part, first=index == 0, length=length, location=location)
