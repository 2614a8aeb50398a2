"""Contents of an upstream: one, in ranges or by recipe, or many in one stream. All of it unverified."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Final

from nearframe.edge.line import Transfer
from nearframe.edge.upstream.exchange import Exchanges, Opened
from nearframe.edge.upstream.paths import path_of
from nearframe.errors import MalformedRequest, UpstreamError
from nearframe.ids import Digest
from nearframe.metrics import UPSTREAM_ITEMS
from nearframe.storage.ports import StudyRef
from nearframe.wire import contentstream

_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19})")
_LENGTH: Final = re.compile(r"[0-9]{1,19}")


class StudyContents(Exchanges):
    """Asks for contents. Whoever does waits for the turn of the transfer on the line."""

    @asynccontextmanager
    async def content(
        self, study: StudyRef, digest: Digest, transfer: Transfer, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open bytes ``start:stop`` of a content: the length of the whole, and those bytes, unverified.

        It is the caller's to wait for the turn of `transfer`.

        Raises
        ------
        NotFound
            If the study has no such content upstream.
        """
        headers = _range(start, stop)
        if headers:
            headers["If-Range"] = f'"{digest.hex()}"'
        path = path_of(study, f"contents/{digest.hex()}")
        async with self._ranged(path, study, transfer, headers, start, stop, "frame") as opened:
            yield opened

    @asynccontextmanager
    async def recipe(
        self, study: StudyRef, enc: Digest, ask: str, transfer: Transfer, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open bytes ``start:stop`` of the recipe of a frame, as `content` does.

        Parameters
        ----------
        ask
            Of `wire.recipeask`: the same gives the same recipe.
        """
        path = path_of(study, f"recipes/{enc.hex()}?{ask}")
        async with self._ranged(path, study, transfer, _range(start, stop), start, stop, "recipe") as opened:
            yield opened

    @asynccontextmanager
    async def _ranged(
        self,
        path: str,
        study: StudyRef,
        transfer: Transfer,
        headers: Mapping[str, str],
        start: int,
        stop: int | None,
        kind: str,
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        async with self.asked("GET", path, study.tenant, transfer=transfer, headers=headers) as answer:
            first, length = _extent(answer)
            if answer.status == HTTPStatus.PARTIAL_CONTENT and first != start:
                raise UpstreamError("the upstream sent another range than was asked for")
            async with aclosing(self.chunks(answer, kind)) as chunks:
                is_whole = answer.status == HTTPStatus.OK
                yield length, _part(chunks, start, stop) if is_whole and headers else chunks
            if stop is None or stop >= length:
                self._metrics.add(UPSTREAM_ITEMS, kind=kind)

    @asynccontextmanager
    async def contents(
        self, study: StudyRef, digests: Sequence[Digest], max_length: int, transfer: Transfer
    ) -> AsyncIterator[AsyncIterator[contentstream.Event]]:
        """Open a batch of contents, in the order asked for, unverified.

        It is the caller's to wait for the turn of `transfer`.
        """
        body = json.dumps({"digests": [digest.hex() for digest in digests]}).encode()
        reader = contentstream.ContentStreamReader(digests, max_length=max_length)
        async with (
            self.asked("POST", path_of(study, "contents"), study.tenant, body=body, transfer=transfer) as answer,
            aclosing(self._events(answer, reader)) as events,
        ):
            yield events

    async def _events(
        self, answer: Opened, reader: contentstream.ContentStreamReader
    ) -> AsyncGenerator[contentstream.Event, None]:
        try:
            async for chunk in self.chunks(answer, "frame"):
                for event in reader.feed(chunk):
                    if isinstance(event, contentstream.Data) and event.last:
                        self._metrics.add(UPSTREAM_ITEMS, kind="frame")
                    yield event
            reader.close()
        except MalformedRequest as error:
            raise UpstreamError("the upstream's stream of contents cannot be read") from error


def _range(start: int, stop: int | None) -> dict[str, str]:
    return {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop is not None else {}


def _extent(answer: Opened) -> tuple[int, int]:
    """Return the first byte of what an answer holds, and the length of the whole content."""
    headers = answer.response.headers
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        if found is None:
            raise UpstreamError("the upstream does not say which range it sends")
        return int(found[1]), int(found[2])
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length):
        raise UpstreamError("the upstream does not say how long a content is")
    return 0, int(length)


async def _part(chunks: AsyncIterator[bytes], start: int, stop: int | None) -> AsyncIterator[bytes]:
    """Yield bytes ``start:stop`` of the whole that an upstream without ranges sends."""
    at = 0
    async for chunk in chunks:
        wanted = chunk[max(0, start - at) : None if stop is None else max(0, stop - at)]
        if wanted:
            yield wanted
        at += len(chunk)
        if stop is not None and at >= stop:
            return
