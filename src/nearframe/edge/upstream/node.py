"""What nodes ask each other, by name: how studies stand, contents, offers, and the list of nodes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus

from nearframe.edge.http1 import RequestBody
from nearframe.edge.line import Transfer
from nearframe.edge.upstream.contents import StudyContents
from nearframe.edge.upstream.feed import MAX_PAGE_BYTES
from nearframe.edge.upstream.sending import Sending
from nearframe.edge.upstream.states import StudyStates
from nearframe.errors import MalformedRequest, UpstreamError, UpstreamUnavailable
from nearframe.sync.directory import Listed, read_listed
from nearframe.wire.document import load_json


class Upstream(StudyStates, StudyContents, Sending):
    """A node that an edge follows and fetches from. For one event loop."""

    async def probe(self) -> None:
        """Find out whether it answers and is well.

        Raises
        ------
        UpstreamError
            If not.
        """
        async with self.exchange("GET", "/healthz", headers={}, first_byte_s=self.timeouts.probe_s) as answer:
            if answer.status != HTTPStatus.OK:
                self.breaker.failed()
                raise UpstreamUnavailable("the upstream says that it is not well")

    async def announce(self, tenant: str, node: Listed | None) -> list[Listed]:
        """Say where clients find this edge, if they may; return which nodes the upstream knows.

        Raises
        ------
        NotFound
            If the upstream keeps no list.
        UpstreamError
        """
        body = json.dumps({} if node is None else node.as_json()).encode()
        headers = {"Content-Type": "application/json"}
        async with self.asked("POST", "/api/edges", tenant, headers=headers, body=body) as answer:
            found = await self.read(answer, "list", 1, MAX_PAGE_BYTES)
        try:
            return [read_listed(one) for one in load_json(found)["nodes"]]
        except (KeyError, TypeError, MalformedRequest) as error:
            raise UpstreamError("the upstream's list of nodes cannot be read") from error

    @asynccontextmanager
    async def forward(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: RequestBody,
        transfer: Transfer | None = None,
        *,
        kind: str = "answer",
        first_byte_s: float | None = None,
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        """Pass a request on and open whatever the upstream answers: status, headers, body.

        Parameters
        ----------
        target
            Path and query, quoted as they go over the line.
        transfer
            It is the caller's to wait for its turn.
        kind
            As what the answer's bytes are counted.
        first_byte_s
            Longest time to the head of the answer; None leaves it to how the body goes.
        """
        async with (
            self.exchange(
                method, target, headers=headers, body=body, first_byte_s=first_byte_s, transfer=transfer
            ) as answer,
            aclosing(self.chunks(answer, kind)) as chunks,
        ):
            yield answer.status, answer.response.headers, chunks
