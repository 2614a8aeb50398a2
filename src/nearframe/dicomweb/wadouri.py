"""WADO-URI (PS3.18 section 9): one object, named by query parameters. For clients of before WADO-RS."""

from __future__ import annotations

from dataclasses import replace

from starlette.responses import Response

from nearframe.dicom.grayscale import VOIFunction, Window
from nearframe.dicom.render import RENDERED_MEDIA_TYPES, RenderOptions
from nearframe.dicom.targets import AS_STORED, DEFAULT
from nearframe.dicom.viewport import MAX_VIEWPORT_PIXELS, Viewport
from nearframe.dicomweb import bulkdata
from nearframe.dicomweb.answers import Resource, answer
from nearframe.dicomweb.call import Call
from nearframe.dicomweb.rendered import pictures
from nearframe.dicomweb.services import Services
from nearframe.errors import MalformedRequest, NotAcceptable, Refused
from nearframe.ids import normalise_uid
from nearframe.query.retrieve_rendered import Kind, kind_of
from nearframe.storage.ports import InstanceRecord
from nearframe.wire.accept import DICOM, AcceptRange, Offer, Representation, negotiate, parse_accept


async def retrieve_by_query(services: Services, call: Call) -> Response:
    """Answer with the object that the parameters name."""
    if call.query("requestType") != "WADO":
        raise MalformedRequest("requestType is WADO")
    if call.query("anonymize"):
        raise Refused("objects are not de-identified on the way out")
    study, series, instance = (_uid(call, name) for name in ("studyUID", "seriesUID", "objectUID"))
    record = await services.records.find(call.context, study, series, instance)
    kind = kind_of(record)
    chosen = negotiate(_accepted(call, record, kind), _offers(kind))
    if chosen.essence == DICOM:
        return await answer(call.request, _file(services, call, record))
    match kind:
        case Kind.VIDEO:
            value = await services.rendered.video(call.context, record)
            return await answer(call.request, bulkdata.resource(value, replace(chosen, multipart=False)))
        case Kind.DOCUMENT:
            value = await services.rendered.document(call.context, record)
            return await answer(call.request, bulkdata.resource(value, replace(chosen, multipart=False)))
        case _:
            number = _number(call, "frameNumber") or 1
            services.frames.check(record, (number,))
            options = _options(call, chosen.essence)
            single = Representation(chosen.offer, chosen.essence, multipart=False)
            return await answer(call.request, pictures(services, call, record, [(number,)], options, single))


def _uid(call: Call, name: str) -> str:
    uid = normalise_uid(call.query(name) or "")
    if not uid:
        raise MalformedRequest(f"{name} is missing")
    return uid


def _accepted(call: Call, record: InstanceRecord, kind: Kind) -> tuple[AcceptRange, ...]:
    """Return what `contentType` asks for; without it a picture of a single frame, else the file (section 9.4.1.2)."""
    asked = call.query("contentType")
    if asked is not None:
        return parse_accept(None, asked)
    is_still = kind is Kind.IMAGE and len(record.frames) == 1
    return (AcceptRange(RENDERED_MEDIA_TYPES[0] if is_still else DICOM),)


def _offers(kind: Kind) -> list[Offer]:
    shown = {
        Kind.IMAGE: [Offer(media_type) for media_type in RENDERED_MEDIA_TYPES],
        Kind.VIDEO: [Offer("video/mp4"), Offer("video/mpeg"), Offer("video/h265")],
        Kind.DOCUMENT: [Offer("application/pdf")],
        Kind.NOTHING: [],
    }[kind]
    return [*shown, Offer(DICOM)]


def _file(services: Services, call: Call, record: InstanceRecord) -> Resource:
    wanted = call.query("transferSyntax") or DEFAULT
    target = services.instances.target(record, wanted)
    if wanted not in (AS_STORED, DEFAULT, target):
        raise NotAcceptable(
            "this object cannot be given in that transfer syntax", tuple(services.instances.syntaxes([record]))
        )
    etag = f'"{record.file.hex()}-s.{target}"'
    # Without the parameter, as its readers expect it: application/dicom and nothing else.
    return Resource(etag, DICOM, lambda: services.instances.file(call.context, record, target))


def _options(call: Call, media_type: str) -> RenderOptions:
    options = RenderOptions(media_type=media_type)
    if (quality := _number(call, "imageQuality")) is not None:
        options = replace(options, quality=min(max(quality, 1), 100))
    rows, columns = _number(call, "rows"), _number(call, "columns")
    if rows or columns:
        options = replace(
            options, viewport=Viewport.parse(f"{columns or MAX_VIEWPORT_PIXELS},{rows or MAX_VIEWPORT_PIXELS}")
        )
    center, width = call.query("windowCenter"), call.query("windowWidth")
    if (center is None) != (width is None):
        raise MalformedRequest("windowCenter and windowWidth come together")
    if center is not None and width is not None:
        try:
            options = replace(options, window=Window(float(center), float(width), VOIFunction.LINEAR))
        except ValueError:
            raise MalformedRequest("windowCenter and windowWidth are numbers") from None
    return options


def _number(call: Call, name: str) -> int | None:
    text = call.query(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise MalformedRequest(f"{name} is a whole number")
    return int(text)
