"""Routes beside DICOMweb that take JSON and answer with it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.boundary import Answerer, routes_of
from nearframe.dicomweb.call import Call, Gate
from nearframe.dicomweb.endpoint import Beside
from nearframe.dicomweb.jsonbody import json_body
from nearframe.errors import MalformedRequest
from nearframe.query.workers import Workers

S = TypeVar("S")

JSON: Final = ("application/json",)
#: Digits of the numbers that things are named by.
_MAX_DIGITS: Final = 18


def json_routes(
    described: Iterable[Beside],
    handlers: Mapping[str, Callable[[S, Workers, Call], Awaitable[Any]]],
    service: S,
    workers: Workers,
    gate: Gate,
    addresses: Addresses,
) -> list[Route]:
    """Return routes of which each answers with what its handler returns.

    Parameters
    ----------
    handlers
        By the names of `described`.
    workers
        Threads for what takes seconds.
    gate
        Says who makes a request; asked before anything is looked up.
    """

    def answerer(name: str) -> Answerer:
        async def answer(request: Request) -> Response:
            found = await handlers[name](service, workers, Call.of(request, gate, addresses))
            body = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
            return Response(body, media_type=JSON[0], headers={"Cache-Control": "no-store"})

        return answer

    return routes_of([(one.name, one.method, one.path, answerer(one.name)) for one in described])


async def json_object(call: Call, max_bytes: int) -> dict[str, Any]:
    """Return the request's body; raises `MalformedRequest` if it is no JSON object."""
    body = await json_body(call.request, JSON, max_bytes)
    if not isinstance(body, dict):
        raise MalformedRequest("the request's body is not a JSON object")
    return body


def number_in(text: str, what: str) -> int:
    """Return a number that a request names; raises `MalformedRequest`, which says what it stands for."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise MalformedRequest(f"{what} is a whole number")
    return int(text)


def is_wanted(call: Call, name: str) -> bool:
    """Return whether a query parameter says yes."""
    return (call.query(name) or "false").lower() not in ("false", "0", "no")
