"""A node that a client asks: its address, what its answers mean, and which other nodes it knows."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Final

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

#: A node asks the others how they are before it answers.
_LIST_TIMEOUT: Final = httpx.Timeout(5.0)
_MAX_OTHERS: Final = 8  # beyond, whoever is asked next is no nearer than the archive


@dataclass(frozen=True, slots=True)
class Reach:
    """How every node is reached: what each request says, whom to trust, how long to wait."""

    headers: Mapping[str, str]
    trust: ssl.SSLContext
    timeout: httpx.Timeout

    def client(self, url: str) -> httpx.Client:
        """Return an HTTP client for one node."""
        return httpx.Client(base_url=url, headers=self.headers, verify=self.trust, timeout=self.timeout)


class Node:
    """A node that may be asked.

    Parameters
    ----------
    is_found
        Whether another node named it: it may send contents of a state, and does not say which is the current one.

    Attributes
    ----------
    fruitless
        How often in a row it brought nothing.
    """

    def __init__(self, url: str, reach: Reach, *, is_found: bool = False) -> None:
        self.url = url
        self.client = reach.client(base_url(url))
        self.is_found = is_found
        self.fruitless = 0


class Others:
    """The other nodes that a node knows: asked for beside what it is sending, read when it fails."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._asking: Thread | None = None
        self._urls: list[str] = []

    def ask(self, url: str) -> None:
        """Begin to ask a node, once; does not wait for the answer."""
        if self._asking is None:
            self._asking = Thread(target=self._ask, args=(url,), name="other nodes", daemon=True)
            self._asking.start()

    def found(self) -> list[str]:
        """Return the URLs of those that are well, nearest first; waits for an answer that is on its way."""
        if self._asking is not None:
            self._asking.join()
        return self._urls

    def _ask(self, url: str) -> None:
        try:
            with self._reach.client(base_url(url)) as client:
                answer = client.get("/api/edges", timeout=_LIST_TIMEOUT)
            if answer.status_code == httpx.codes.OK:
                self._urls = _healthy_in(answer.json(), url)[:_MAX_OTHERS]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return  # a node of another kind, or one that fails just now: nobody else is known


def _healthy_in(document: object, asked: str) -> list[str]:
    """Return the URLs of a list's nodes that are well; none that would be asked without TLS after one with it."""
    if not isinstance(document, dict):
        raise TypeError("a list of nodes is an object")
    others = [one for one in document["edges"] if one["healthy"] is True and one["name"] != document["self"]]
    urls = [str(one["url"]).rstrip("/") for one in others]
    schemes = ("https://",) if asked.startswith("https://") else ("https://", "http://")
    return [url for url in urls if url.startswith(schemes)]


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn what the HTTP client raises into our errors, with a remedy."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise UpstreamTimeout(f"{url} did not answer in time; try again") from error
    except httpx.ConnectError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise UpstreamError(f"the certificate of {url} is not trusted") from error
        raise UpstreamUnavailable(f"cannot connect to {url} ({error}); is the node running?") from error
    except httpx.TransportError as error:
        raise UpstreamUnavailable(f"{url} broke off ({error}); try again") from error


def raise_for_status(answer: httpx.Response, url: str) -> None:
    """Raise what a node's status means, unless it is a success."""
    status = answer.status_code
    if status < httpx.codes.MULTIPLE_CHOICES:
        return
    if status == httpx.codes.NOT_FOUND:
        raise NotFound(f"study at {url}")
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise AccessError(f"{url} does not show this study")
    if status in (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT):
        raise UpstreamUnavailable(f"{url} cannot answer just now ({status}); try again")
    if httpx.codes.BAD_REQUEST <= status < httpx.codes.INTERNAL_SERVER_ERROR:
        raise RequestError(f"{url} refused the request ({status} {answer.reason_phrase})")
    raise UpstreamError(f"{url} answered {status} {answer.reason_phrase}, which no healthy node says")


def base_url(url: str) -> str:
    """Return a URL without a slash at its end; raises `ConfigurationError` if it is none."""
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{url}: expected http:// or https://")
    return url.rstrip("/")


def trust_in(ca_cert: Path | None) -> ssl.SSLContext:
    """Return whom to trust: the authorities of a PEM file, or the system's for None."""
    try:
        return ssl.create_default_context(cafile=os.fspath(ca_cert) if ca_cert else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{ca_cert}: not readable as PEM certificates") from error
