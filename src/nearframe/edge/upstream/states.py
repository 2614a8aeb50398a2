"""How studies stand at an upstream: what changed, manifests, deltas, renditions, headers."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from nearframe.context import Urgency
from nearframe.edge.http1 import RequestBody
from nearframe.edge.turns import User
from nearframe.edge.upstream.exchange import Exchanges, Opened
from nearframe.edge.upstream.feed import MAX_PAGE_BYTES, FeedAnswer, read_page
from nearframe.edge.upstream.paths import path_of
from nearframe.errors import LimitExceeded, MalformedRequest, NotFound, UpstreamError
from nearframe.ids import Digest
from nearframe.metrics import UPSTREAM_ITEMS
from nearframe.storage.ports import StudyRef
from nearframe.units import KIB, MIB
from nearframe.wire import headerstream
from nearframe.wire.delta import Runs
from nearframe.wire.document import MAX_DOCUMENT_BYTES
from nearframe.wire.via import names_after, names_in_via
from nearframe.wire.zstdstream import ZstdStream

_MAX_HEADER_BYTES: Final = 64 * MIB
#: What a manifest, a delta or some headers weigh, as far as anybody knows before they come.
_PULL_BYTES: Final = 32 * KIB


class StudyStates(Exchanges):
    """Asks how studies stand.

    Attributes
    ----------
    came_through
        Whom the changes came through, the node itself last, as far as it said so.
    """

    came_through: Sequence[str] = ()

    async def feed(self, tenant: str, after: str | None, wait_s: int) -> FeedAnswer:
        """Return the changes after a cursor; the upstream holds the request for `wait_s` while there are none.

        Raises
        ------
        Gone
            If the cursor is of another epoch.
        UpstreamError
        """
        params = {"wait": str(wait_s)} | ({} if after is None else {"after": after})
        patience_s = wait_s + self.timeouts.first_byte_s
        target = f"/api/feed?{urlencode(params)}"
        try:
            async with self.asked("GET", target, tenant, first_byte_s=patience_s) as answer:
                body = await self.read(answer, "feed", 1, MAX_PAGE_BYTES)
                came_through = names_in_via([answer.response.headers.get("via", "")])
        except NotFound as error:
            raise UpstreamError(
                "the upstream has no change feed: name a node by its URL without /dicomweb; "
                "before another archive set upstream_kind to dicomweb"
            ) from error
        self.came_through = names_after(self._node_name, came_through)
        return read_page(body, leads_back=self._node_name in came_through)

    async def manifest(self, study: StudyRef) -> bytes:
        """Return the encoded manifest of a study; raises `NotFound` if it is not there."""
        async with self._pulled("GET", study, "manifest") as answer:
            return await self.read(answer, "manifest", 1, MAX_DOCUMENT_BYTES)

    async def delta(self, study: StudyRef, root: Digest) -> bytes | None:
        """Return the encoded delta from a root, or None if it is the current one.

        Raises
        ------
        NotFound
            If there is no delta from it: take the manifest.
        """
        async with self._pulled("GET", study, f"delta?from={root.hex()}") as answer:
            if answer.status == HTTPStatus.NOT_MODIFIED:
                return None
            return await self.read(answer, "delta", 1, MAX_DOCUMENT_BYTES)

    async def renditions(self, study: StudyRef, urgency: Urgency) -> bytes:
        """Return the encoded list of the renditions there are by now."""
        async with self._pulled("GET", study, "renditions", urgency=urgency) as answer:
            return await self.read(answer, "renditions", 1, MAX_DOCUMENT_BYTES)

    async def hashes(self, study: StudyRef) -> bytes:
        """Return the encoded list of what the study's frames look like; raises `NotFound` if there is none."""
        async with self._pulled("GET", study, "hashes", urgency=Urgency.ARCHIVE) as answer:
            return await self.read(answer, "hashes", 1, MAX_DOCUMENT_BYTES)

    @asynccontextmanager
    async def headers(self, study: StudyRef, root: Digest, at: Runs) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the headers of instances of the state with a root, in its order.

        Raises
        ------
        NotFound
            If the upstream does not remember the root.
        """
        wanted = json.dumps({"root": root.hex(), "at": at}).encode()
        async with (
            self._pulled("POST", study, "headers", wanted) as answer,
            aclosing(self._headers(answer)) as blobs,
        ):
            yield blobs

    async def _headers(self, answer: Opened) -> AsyncGenerator[bytes, None]:
        reader = headerstream.HeaderStreamReader(max_bytes=_MAX_HEADER_BYTES)
        opener = ZstdStream()
        try:
            async for chunk in self.chunks(answer, "header"):
                for piece in opener.feed(chunk):
                    for blob in reader.feed(piece):
                        self._metrics.add(UPSTREAM_ITEMS, kind="header")
                        yield blob
            reader.close()
        except (MalformedRequest, LimitExceeded) as error:
            raise UpstreamError("the upstream's headers cannot be read") from error

    @asynccontextmanager
    async def _pulled(
        self, method: str, study: StudyRef, what: str, body: RequestBody = b"", urgency: Urgency = Urgency.ROUTINE
    ) -> AsyncIterator[Opened]:
        """Open a compressed answer about how a study stands, when it is its turn on the line."""
        path, transfer = path_of(study, what), self.line.transfer(User.PULL, urgency, _PULL_BYTES)
        async with (
            transfer.turn(),
            self.asked(method, path, study.tenant, transfer=transfer, coding="zstd", body=body) as answer,
        ):
            yield answer
