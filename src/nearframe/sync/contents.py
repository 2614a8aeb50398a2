"""Headers, frames and bulk data of a study, for a node that lacks them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial

import zstandard
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from nearframe.context import Context
from nearframe.dicomweb.answers import IMMUTABLE, Resource, answer
from nearframe.errors import LimitExceeded, MalformedRequest, NotFound
from nearframe.ids import Digest
from nearframe.query.body import Body, Held, Streamed
from nearframe.storage.ports import ContentStore, StudyRef
from nearframe.sync.asked import digest_of, json_body, study_of
from nearframe.sync.services import FRAME, HEADER, SyncServices
from nearframe.units import MIB
from nearframe.wire import contentstream, headerstream
from nearframe.wire.delta import indices_of, read_runs

OCTET_STREAM = "application/octet-stream"
MAX_CONTENTS = 10_000  # of one request
# Level 9 with a window that reaches over a hundred headers of 80 KB: 50 to 100 bytes a header.
_HEADER_LEVEL = 9
_WINDOW_LOG = 23
_BATCH_BYTES = MIB


async def headers(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer with the headers of instances of a state of the study, in one compressed stream.

    Instances are named by their place in the manifest of that state: a list of digests
    would weigh as much as the headers themselves.
    """
    study = study_of(context, request)
    wanted = await json_body(request)
    state = await services.manifests.with_root(study, digest_of(wanted.get("root"), "root"))
    entries = state.manifest.entries
    try:
        hdrs = [entries[index].hdr for index in indices_of(read_runs(wanted["at"]), len(entries))]
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedRequest("at is a list of ranges of instances") from error
    stream = _counted(services, HEADER, len(hdrs), _headers(services, study, hdrs))
    return StreamingResponse(
        stream,
        headers={"Cache-Control": "no-store", "Content-Encoding": "zstd"},
        media_type=headerstream.MEDIA_TYPE,
    )


async def content(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer with one content, or a range of it; it never changes."""
    study = study_of(context, request)
    digest = digest_of(request.path_params["digest"], "a content's name")
    # What is at hand is answered without a worker thread: an edge asks for one picture in eight ranges at once.
    held = services.contents.read_nowait(study, digest)
    size = await services.contents.size(context, study, digest) if held is None else len(held)

    def open_range(start: int, stop: int | None) -> AsyncIterator[bytes]:
        # One that is fetched in pieces counts with the last of them.
        items = int(stop is None or stop == size)
        if held is not None:
            return _counted(services, FRAME, items, Held(held).open(start, stop))
        return _counted(services, FRAME, items, services.contents.stream(context, study, digest, start, stop))

    async def body() -> Body:
        return Body([Streamed(size, open_range)])

    return await answer(
        request,
        Resource(
            etag=f'"{digest.hex()}"',
            content_type=OCTET_STREAM,
            open=body,
            headers={"Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:"},
            cache_control=IMMUTABLE,
            vary="",
        ),
    )


async def contents(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer with many contents in one stream, in the order asked for."""
    study = study_of(context, request)
    wanted = await json_body(request)
    texts = wanted.get("digests")
    if not isinstance(texts, list):
        raise MalformedRequest("digests is a list")
    if len(texts) > MAX_CONTENTS:
        raise LimitExceeded("contents of one request", MAX_CONTENTS, len(texts))
    digests = [digest_of(text, "a digest") for text in texts]
    stream = _contents(services, context, study, digests)
    return StreamingResponse(stream, headers={"Cache-Control": "no-store"}, media_type=contentstream.MEDIA_TYPE)


async def _contents(
    services: SyncServices, context: Context, study: StudyRef, digests: Sequence[Digest]
) -> AsyncIterator[bytes]:
    for digest in digests:
        try:
            size = await services.contents.size(context, study, digest)
        except NotFound:
            yield contentstream.absence(digest)
            continue
        yield contentstream.opening(digest, size)
        async for chunk in _counted(services, FRAME, 1, services.contents.stream(context, study, digest)):
            yield chunk
    yield contentstream.ending(len(digests))


async def _headers(services: SyncServices, study: StudyRef, hdrs: Sequence[Digest]) -> AsyncIterator[bytes]:
    compressed = _compressed_headers(services.store, study, hdrs)
    while (chunk := await services.workers.run(partial(next, compressed, None))) is not None:
        if chunk:
            yield chunk


def _compressed_headers(store: ContentStore, study: StudyRef, hdrs: Sequence[Digest]) -> Iterator[bytes]:
    """Yield the stream of headers, compressed; reads about `_BATCH_BYTES` of headers between two chunks."""
    parameters = zstandard.ZstdCompressionParameters.from_level(_HEADER_LEVEL, window_log=_WINDOW_LOG)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    pending = 0
    for hdr in hdrs:
        framed = headerstream.frame_header(store.read(study, hdr))
        pending += len(framed)
        chunk = compressor.compress(framed)
        if chunk or pending >= _BATCH_BYTES:
            pending = 0
            yield chunk
    yield compressor.flush()


async def _counted(services: SyncServices, kind: str, items: int, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass chunks on and count them; items count once all of their bytes are gone."""
    size = 0
    try:
        async for chunk in chunks:
            size += len(chunk)
            yield chunk
    except BaseException:
        items = 0
        raise
    finally:
        services.sent(kind, items, size)
