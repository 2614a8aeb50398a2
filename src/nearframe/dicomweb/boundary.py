"""Where a request ends: methods, errors, and the headers that every answer has."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from nearframe import log
from nearframe.dicomweb.problems import problem, problem_of
from nearframe.errors import IntegrityError, NearframeError

_log = log.logger(__name__)

#: Turns a request into an answer, or raises.
Answerer: TypeAlias = Callable[[Request], Awaitable[Response]]

#: Nothing served here may be taken for a page or a script, whatever it contains.
NOSNIFF: Final = (b"x-content-type-options", b"nosniff")


async def no_content(_: Request) -> Response:
    """Answer OPTIONS where there is nothing to tell but the methods."""
    return Response(status_code=204)


def routes_of(table: Iterable[tuple[str, str, str, Answerer]], options: Answerer = no_content) -> list[Route]:
    """Return one route for each path of a table of name, method, path and what answers.

    Parameters
    ----------
    options
        Answers OPTIONS on every path.
    """
    by_path: dict[str, dict[str, tuple[str, Answerer]]] = {}
    for name, method, path, answerer in table:
        by_path.setdefault(path, {})[method] = (name, answerer)
    return [Route(path, PathApp(methods, options)) for path, methods in by_path.items()]


class PathApp:
    """Answers the requests to one path.

    Parameters
    ----------
    methods
        By method: the route's name, for logs and metrics, and what answers. HEAD goes to GET.
    options
        Answers OPTIONS.
    """

    def __init__(self, methods: Mapping[str, tuple[str, Answerer]], options: Answerer) -> None:
        self._methods = dict(methods)
        if "GET" in methods:
            self._methods["HEAD"] = methods["GET"]
        self._allow = ", ".join([*self._methods, "OPTIONS"])
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        response = await self._answer(Request(scope, receive))
        response.raw_headers.append(NOSNIFF)
        elapsed_ms = (time.perf_counter() - started) * 1000
        response.raw_headers.append((b"server-timing", b"app;dur=%.2f" % elapsed_ms))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = request.method
        if method == "OPTIONS":
            name, answerer = "options", self._options
        elif method in self._methods:
            name, answerer = self._methods[method]
        else:
            return problem(405, "Method Not Allowed", f"this resource answers {self._allow}", {"Allow": self._allow})
        name_route(request.scope, name)
        response = await guarded(request, name, answerer)
        if method == "OPTIONS":
            response.headers["Allow"] = self._allow
        return response


async def guarded(request: Request, name: str, answerer: Answerer) -> Response:
    """Return the answer, or the problem document that an error is."""
    try:
        return await answerer(request)
    except NearframeError as error:
        return refusal(name, error)
    except Exception as error:  # noqa: BLE001 - a request ends here; the log has the traceback
        _log.error("request_failed", route=name, error=error)
        return problem(500, "Internal Server Error", "something went wrong here; the log says what", code="Internal")


def refusal(name: str, error: NearframeError) -> Response:
    """Return the problem document that an error is, and log what is not the caller's doing."""
    if isinstance(error, IntegrityError):
        _log.error("integrity_error", route=name, error=error)
    elif error.http_status >= 500:
        _log.warning("request_failed", route=name, error=error)
    return problem_of(error)


async def unknown(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request to a path that is not ours."""
    response = problem(404, "Not Found", "nothing is at this path; GET /dicomweb/ lists what there is")
    await response(scope, receive, send)


def name_route(scope: Scope, name: str) -> None:
    """Tell the listener which route a request took: for metrics."""
    scope.setdefault("state", {})["route"] = name
