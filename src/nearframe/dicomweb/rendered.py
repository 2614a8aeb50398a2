"""Rendered resources and thumbnails (PS3.18 sections 10.4.1.1.3 and 10.4.1.1.4)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import partial

from starlette.responses import Response

from nearframe.dicom.render import RENDERED_MEDIA_TYPES, THUMBNAIL_PIXELS, RenderOptions, parse_window
from nearframe.dicom.viewport import Viewport
from nearframe.dicomweb import bulkdata
from nearframe.dicomweb.answers import Resource, answer
from nearframe.dicomweb.call import Call
from nearframe.dicomweb.services import Services
from nearframe.errors import MalformedRequest, NotAcceptable
from nearframe.ids import sha256_of
from nearframe.query.body import Body, Held, Segment, Streamed
from nearframe.query.retrieve_rendered import Kind, kind_of, middle_frame, representative
from nearframe.storage.ports import InstanceRecord
from nearframe.wire import multipart
from nearframe.wire.accept import Offer, Representation, negotiate

GIF = "image/gif"


async def retrieve_rendered(services: Services, call: Call) -> Response:
    """Answer with what people see of frames, an instance, a series or a study."""
    if call.instance is None:
        return await _rendered_group(services, call)
    record = await services.records.find(call.context, call.study, call.series, call.instance, call.version)
    return await answer(call.request, await rendered_instance(services, call, record))


async def retrieve_thumbnail(services: Services, call: Call) -> Response:
    """Answer with a small picture that stands for a study, a series, an instance or a frame."""
    if call.instance is None:
        record = representative(await services.records.list(call.context, call.study, call.series, at_seq=call.version))
    else:
        record = await services.records.find(call.context, call.study, call.series, call.instance, call.version)
    if kind_of(record) is not Kind.IMAGE:
        raise NotAcceptable("this object has no picture")
    numbers = call.frame_numbers()[:1] if "frames" in call.request.path_params else (middle_frame(record),)
    services.frames.check(record, numbers)
    chosen = negotiate(call.accepted, _picture_offers())
    options = options_of(call, chosen.essence)
    if options.viewport is None:
        options = replace(options, viewport=Viewport(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    return await answer(call.request, pictures(services, call, record, [numbers], options, chosen))


async def rendered_instance(services: Services, call: Call, record: InstanceRecord) -> Resource:
    """Return what people see of an instance, or of some of its frames."""
    match kind_of(record):
        case Kind.VIDEO:
            video = await services.rendered.video(call.context, record)
            return bulkdata.resource(video, negotiate(call.accepted, [Offer(video.media_type)]))
        case Kind.DOCUMENT:
            document = await services.rendered.document(call.context, record)
            return bulkdata.resource(document, negotiate(call.accepted, [Offer(document.media_type)]))
        case Kind.NOTHING:
            raise NotAcceptable("this object has nothing to show")
        case Kind.IMAGE:
            return _rendered_image(services, call, record)


def _rendered_image(services: Services, call: Call, record: InstanceRecord) -> Resource:
    chosen = negotiate(call.accepted, _picture_offers())
    every = tuple(range(1, len(record.frames) + 1))
    if "frames" in call.request.path_params:
        numbers = call.frame_numbers()
        services.frames.check(record, numbers)
    else:
        numbers = every if chosen.multipart or chosen.essence == GIF else every[:1]
    options = options_of(call, chosen.essence)
    if chosen.essence == GIF and not chosen.multipart:
        return pictures(services, call, record, [numbers], options, chosen)
    if len(numbers) > 1 and not chosen.multipart:
        raise NotAcceptable("several frames go into one multipart/related answer, or into image/gif; accept that")
    return pictures(services, call, record, [(number,) for number in numbers], options, chosen)


async def _rendered_group(services: Services, call: Call) -> Response:
    records = await services.records.list(call.context, call.study, call.series, at_seq=call.version)
    chosen = negotiate(call.accepted, [*_picture_offers()])
    if not chosen.multipart:
        # One picture was asked for: that of the instance that stands for the others.
        return await answer(call.request, await rendered_instance(services, call, representative(records)))
    shown = [record for record in records if kind_of(record) is Kind.IMAGE]
    if not shown:
        raise NotAcceptable("nothing here has a picture")
    options = options_of(call, chosen.essence)
    return await answer(call.request, _series_of_pictures(services, call, shown, options, chosen))


def pictures(
    services: Services,
    call: Call,
    record: InstanceRecord,
    groups: Sequence[tuple[int, ...]],
    options: RenderOptions,
    chosen: Representation,
) -> Resource:
    """Return one picture for each group of frames of an instance."""
    digest = sha256_of(services.rendered.digest(record, numbers, options) for numbers in groups)
    if not chosen.multipart:

        async def body() -> Body:
            return Body.of(await services.rendered.picture(call.context, record, groups[0], options))

        return Resource(f'"{digest.hex()[:32]}-s"', chosen.essence, body)
    boundary = multipart.boundary_for(digest)
    wanted = [(record, numbers) for numbers in groups]
    return _multipart(services, call, wanted, options, chosen, boundary, f'"{digest.hex()[:32]}-m"')


def _series_of_pictures(
    services: Services, call: Call, records: Sequence[InstanceRecord], options: RenderOptions, chosen: Representation
) -> Resource:
    wanted = [(record, (middle_frame(record),)) for record in records]
    digest = sha256_of(services.rendered.digest(record, numbers, options) for record, numbers in wanted)
    boundary = multipart.boundary_for(digest)
    return _multipart(services, call, wanted, options, chosen, boundary, f'"{digest.hex()[:32]}-m"')


def _multipart(
    services: Services,
    call: Call,
    wanted: Sequence[tuple[InstanceRecord, tuple[int, ...]]],
    options: RenderOptions,
    chosen: Representation,
    boundary: str,
    etag: str,
) -> Resource:
    async def part(
        index: int, record: InstanceRecord, numbers: tuple[int, ...], start: int, stop: int | None
    ) -> AsyncGenerator[bytes, None]:
        picture = await services.rendered.picture(call.context, record, numbers, options)
        yield multipart.part_head(boundary, chosen.essence, first=index == 0, length=len(picture)) + picture

    async def body() -> Body:
        parts: list[Segment] = [Streamed(None, partial(part, index, *one)) for index, one in enumerate(wanted)]
        return Body([*parts, Held(multipart.closing(boundary))])

    return Resource(etag, multipart.content_type(boundary, chosen.media_type), body)


def options_of(call: Call, media_type: str) -> RenderOptions:
    """Read the rendering parameters (PS3.18 section 8.3.5).

    Raises
    ------
    MalformedRequest, LimitExceeded
    """
    window, viewport, quality = call.query("window"), call.query("viewport"), call.query("quality")
    return RenderOptions(
        media_type=media_type,
        quality=RenderOptions().quality if quality is None else _quality(quality),
        window=None if window is None else parse_window(window),
        viewport=None if viewport is None else Viewport.parse(viewport),
    )


def _quality(text: str) -> int:
    if not text.isdigit() or not text.isascii() or not 1 <= int(text[:4]) <= 100:
        raise MalformedRequest("quality is a whole number from 1 to 100")
    return int(text)


def _picture_offers() -> list[Offer]:
    return [Offer(media_type) for media_type in RENDERED_MEDIA_TYPES]
