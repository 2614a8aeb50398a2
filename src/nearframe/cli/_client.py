"""Talking to a running node from the command line."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import ssl
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from nearframe.errors import (
    AccessError,
    ConfigurationError,
    NotFound,
    RequestError,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)

DEFAULT_URL = "http://127.0.0.1:8042"
TENANT_HEADER = "nearframe-tenant"
#: The first answer about a large study may have to be computed.
_TIMEOUT = httpx.Timeout(connect=5, read=120, write=30, pool=5)
#: What a Warning header says, e.g. that a search parameter was ignored (PS3.18 section 8.3.4.5).
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')


def add_node_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which node to ask, and how."""
    parser.add_argument("--url", default=DEFAULT_URL, metavar="URL", help=f"the node to ask (default: {DEFAULT_URL})")
    parser.add_argument("--tenant", metavar="NAME", help="ask about this tenant instead of the node's own")
    parser.add_argument("--ca-cert", type=Path, metavar="FILE", help="certificates to trust (PEM)")


@contextlib.contextmanager
def node_of(options: argparse.Namespace) -> Iterator[Node]:
    """Open the node that the options name."""
    headers = {TENANT_HEADER: options.tenant} if options.tenant else {}
    with httpx.Client(
        base_url=_base_url(options.url), headers=headers, verify=_trust(options.ca_cert), timeout=_TIMEOUT
    ) as client:
        yield Node(client)


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
    if status < httpx.codes.INTERNAL_SERVER_ERROR:
        return RequestError(detail)
    return UpstreamError(detail)


def _detail(answer: httpx.Response) -> str:
    """Return what a problem document says (RFC 9457), empty if the answer is none."""
    with contextlib.suppress(ValueError, AttributeError):
        problem = answer.json()
        return str(problem.get("detail") or problem["title"])
    return ""


def _base_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"--url {url}: expected http:// or https://")
    return url.rstrip("/")


def _trust(ca_cert: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=os.fspath(ca_cert) if ca_cert else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"--ca-cert {ca_cert}: not readable as PEM certificates") from error
