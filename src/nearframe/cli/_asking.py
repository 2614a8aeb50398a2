"""Requests to a running node, and what went wrong as one of our errors."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from typing import Any

import httpx

from nearframe.errors import (
    AccessError,
    Conflict,
    NotFound,
    RequestError,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)

#: The first answer about a large study may have to be computed.
TIMEOUT = httpx.Timeout(connect=5, read=120, write=30, pool=5)
#: What a Warning header says, e.g. that a search parameter was ignored (PS3.18 section 8.3.4.5).
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')


class Node:
    """A running node; what goes wrong becomes one of our errors, with a remedy."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(
        self, path: str, params: Mapping[str, str | int | list[str]] | None = None, accept: str = "application/json"
    ) -> httpx.Response:
        """Ask for a resource; raises unless the answer is a success."""
        return self._ask("GET", path, params=params, headers={"Accept": accept})

    def json(self, path: str, params: Mapping[str, str | int | list[str]] | None = None) -> Any:
        """Ask for JSON; None where the answer has no content."""
        answer = self.get(path, params, "application/dicom+json, application/json")
        return None if answer.status_code == httpx.codes.NO_CONTENT else answer.json()

    def post(self, path: str, body: object = None) -> Any:
        """Send JSON, and return the JSON of the answer."""
        answer = self._ask("POST", path, json=body)
        return None if answer.status_code == httpx.codes.NO_CONTENT else answer.json()

    def put(self, path: str, body: object = None) -> Any:
        """Send JSON in place of what is there, and return the JSON of the answer."""
        return self._ask("PUT", path, json=body).json()

    def delete(self, path: str) -> Any:
        """Remove what is there, and return the JSON of the answer."""
        return self._ask("DELETE", path).json()

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        base = self._client.base_url
        try:
            answer = self._client.request(method, path, **more)
        except httpx.TimeoutException as error:
            raise UpstreamTimeout(f"{base} did not answer in time; try again") from error
        except httpx.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise UpstreamError(
                    f"the certificate of {base} is not trusted; --ca-cert names one to trust"
                ) from error
            raise UpstreamUnavailable(
                f"cannot connect to {base} ({error}); is the node running? --url names another one"
            ) from error
        except httpx.TransportError as error:
            raise UpstreamUnavailable(
                f"{base} broke off ({error}); try again, or with https:// if it speaks TLS"
            ) from error
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise _error_of(answer)
        for said in _WARNING.findall(answer.headers.get("warning", "")):
            print(f"Worth knowing: {said}", file=sys.stderr)
        return answer


def _error_of(answer: httpx.Response) -> Exception:
    status = answer.status_code
    detail = _detail(answer)
    if not detail:
        return UpstreamError(
            f"{answer.request.url} answered {status} {answer.reason_phrase}, which no nearframe node says; "
            "--url names the node"
        )
    if status == httpx.codes.NOT_FOUND:
        return NotFound(detail.removeprefix("no such ")) if detail.startswith("no such ") else RequestError(detail)
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return AccessError(detail)
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        return UpstreamUnavailable(f"{detail}; try again")
    if status == httpx.codes.CONFLICT:
        return Conflict(detail)
    if status < httpx.codes.INTERNAL_SERVER_ERROR:
        return RequestError(detail)
    return UpstreamError(detail)


def _detail(answer: httpx.Response) -> str:
    """Return what a problem document says (RFC 9457), empty if the answer is none."""
    with contextlib.suppress(ValueError, AttributeError):
        problem = answer.json()
        return str(problem.get("detail") or problem.get("title") or "")
    return ""
