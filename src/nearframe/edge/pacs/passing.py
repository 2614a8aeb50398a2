"""Requests passed on to an archive that speaks DICOMweb: as they come, and to no other place of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from string import punctuation
from typing import Final
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response

from nearframe.dicomweb.address import ROOT, Addresses
from nearframe.dicomweb.boundary import name_route
from nearframe.dicomweb.call import Gate
from nearframe.edge.pacs.shown import with_links_to
from nearframe.edge.pacs.webarchive import Passed, WebArchive
from nearframe.errors import MalformedRequest, NotFound, UpstreamUnavailable

_ASKED_WITH: Final = ("accept", "authorization")
_STORED_WITH: Final = (*_ASKED_WITH, "content-type", "content-length")
_PASSED_BACK: Final = ("content-type", "warning", "retry-after")


class Passing:
    """Passes readers' requests on, with links in the answers that lead here."""

    def __init__(self, archive: WebArchive, gate: Gate, addresses: Addresses) -> None:
        self._archive = archive
        self._gate = gate
        self._addresses = addresses

    async def question(self, request: Request, route: str) -> Response:
        """Pass a question on, known as `route` in log and metrics.

        Raises
        ------
        UpstreamError
            If the archive cannot be asked.
        """
        # A question goes without a body, whatever its head says of one: the archive would wait for it, or take the
        # beginning of the next request on that connection for it.
        return await self._passed(request, route, _ASKED_WITH)

    async def store(self, request: Request) -> Response:
        """Pass on what is to be stored; raises as `question`."""
        try:
            return await self._passed(request, "store_forwarded", _STORED_WITH, request.stream())
        except UpstreamUnavailable as error:
            raise UpstreamUnavailable("the archive is away: nothing was stored, send again when it is back") from error

    async def _passed(
        self, request: Request, route: str, names: tuple[str, ...], body: AsyncIterator[bytes] | None = None
    ) -> Response:
        name_route(request.scope, route)
        target = _below_root(request.scope["raw_path"].decode("ascii"))
        if request.url.query:
            # As it came, as far as it can: Orthanc 1.10 finds a name with ^, and none with %5E.
            target += f"?{quote(request.url.query, safe=punctuation)}"
        headers = {name: request.headers[name] for name in names if name in request.headers}
        urgency = self._gate(request.scope).urgency
        if body is not None:
            return self._answer_of(request, await self._archive.store(target, headers, urgency, body))
        return self._answer_of(request, await self._archive.passed(target, headers, urgency))

    def _answer_of(self, request: Request, passed: Passed) -> Response:
        back = {name: passed.headers[name] for name in _PASSED_BACK if name in passed.headers}
        is_text = "json" in back.get("content-type", "") or "xml" in back.get("content-type", "")
        body = with_links_to(self._addresses.service(request), passed.body) if is_text else passed.body
        return Response(body, passed.status, {**back, "Cache-Control": "private, no-cache", "Vary": "Accept"})


def _below_root(raw_path: str) -> str:
    """Return a path below our DICOMweb root as one below the archive's, and no other place of its.

    Raises
    ------
    MalformedRequest
        If a segment of it would lead elsewhere, once or twice decoded.
    """
    if not raw_path.startswith(f"{ROOT}/"):
        raise NotFound("resource")
    target = raw_path.removeprefix(ROOT)
    for segment in re.split(r"[/\\]", unquote(unquote(target))):
        if segment.partition(";")[0] in (".", ".."):
            raise MalformedRequest("a path with dots for segments is not passed on")
    return target
