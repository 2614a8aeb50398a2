"""Frames (PS3.18 section 10.4.1.1.2): negotiated, labelled, with a validator that is their digest."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from nearframe.context import Context
from nearframe.dicomweb import negotiation
from nearframe.dicomweb.answers import Resource, answer
from nearframe.dicomweb.call import Call
from nearframe.ids import sha256_of
from nearframe.query.body import Body, Held, Segment, Streamed
from nearframe.query.retrieve_frames import FrameForm, FrameService
from nearframe.storage.ports import InstanceRecord
from nearframe.wire import multipart
from nearframe.wire.accept import AcceptRange, Representation
from nearframe.wire.contentcoding import CODINGS, IDENTITY, choose_coding

if TYPE_CHECKING:
    from nearframe.dicomweb.services import Services

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """How some frames of an instance are going to be sent.

    Attributes
    ----------
    boundary
        Empty for a single part.
    """

    record: InstanceRecord
    frame_numbers: tuple[int, ...]
    form: FrameForm
    representation: Representation
    etag: str
    boundary: str

    @property
    def content_type(self) -> str:
        if self.boundary:
            return multipart.content_type(self.boundary, self.representation.media_type)
        return self.representation.part_type

    def head(self, index: int, length: int) -> bytes:
        """Return what stands before the payload of the part at `index`."""
        if not self.boundary:
            return b""
        return multipart.part_head(self.boundary, self.representation.part_type, first=index == 0, length=length)

    @property
    def tail(self) -> bytes:
        return multipart.closing(self.boundary) if self.boundary else b""


async def retrieve_frames(services: Services, call: Call) -> Response:
    """Answer with frames of an instance."""
    assert call.instance is not None  # noqa: S101 - the route names one
    record = await services.records.find(call.context, call.study, call.series, call.instance, call.version)
    planned = await plan(services.frames, record, call.frame_numbers(), call.accepted)
    return await answer(call.request, resource(call.context, services.frames, planned))


async def retrieve_frame_table(services: Services, call: Call) -> Response:
    """Answer with the validator of every frame of a study, for readers that would send this Accept."""
    table = await services.frame_tables.of(call.context, call.study, call.accepted)
    coding = choose_coding(call.request.headers.get("accept-encoding"), CODINGS)
    headers = {} if coding == IDENTITY else {"Content-Encoding": coding}

    async def body() -> Body:
        return Body.of(await services.frame_tables.coded(table, coding))

    etag = f'"{table.digest.hex()}-{coding}"'
    vary = "Accept, Accept-Encoding"
    return await answer(call.request, Resource(etag, JSON, body, headers, vary=vary, ranges=False))


async def plan(
    frames: FrameService, record: InstanceRecord, frame_numbers: tuple[int, ...], accepted: Sequence[AcceptRange]
) -> FrameAnswer:
    """Decide in which form frames go out.

    Raises
    ------
    NotFound
        If the instance lacks one of the frames.
    NotAcceptable
    """
    frames.check(record, frame_numbers)
    forms = {form.transfer_syntax_uid: form for form in await frames.forms(record, frame_numbers)}
    chosen = negotiation.frames(accepted, forms, len(frame_numbers))
    form = forms[chosen.offer.transfer_syntax or ""]
    digests = [frames.etag_digest(record, number, form) for number in frame_numbers]
    digest = digests[0] if len(digests) == 1 else sha256_of(digests)
    boundary = multipart.boundary_for(digest) if chosen.multipart else ""
    return FrameAnswer(record, frame_numbers, form, chosen, f'"{digest.hex()}-{negotiation.label(chosen)}"', boundary)


def resource(context: Context, frames: FrameService, planned: FrameAnswer) -> Resource:
    """Return the frames as something to be answered with."""

    async def body() -> Body:
        if len(planned.frame_numbers) == 1:
            payload = await frames.read(context, planned.record, planned.frame_numbers[0], planned.form)
            return Body.of(planned.head(0, len(payload)) + payload + planned.tail)
        sizes = await frames.lengths(context, planned.record, planned.frame_numbers, planned.form)
        parts = [
            _part(context, frames, planned, index, None if sizes is None else sizes[index])
            for index in range(len(planned.frame_numbers))
        ]
        return Body([*parts, Held(planned.tail)])

    return Resource(planned.etag, planned.content_type, body)


def _part(
    context: Context, frames: FrameService, planned: FrameAnswer, index: int, payload_bytes: int | None
) -> Segment:
    """Return a segment for a part; its frame is read when its turn comes."""
    number = planned.frame_numbers[index]

    async def opener(start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        payload = await frames.read(context, planned.record, number, planned.form)
        async for chunk in Held(planned.head(index, len(payload)) + payload).open(start, stop):
            yield chunk

    length = None if payload_bytes is None else len(planned.head(index, payload_bytes)) + payload_bytes
    return Streamed(length, opener)
