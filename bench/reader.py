"""A DICOMweb reader that takes the time of what it gets: connection, prefix, whole."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from bench import load

#: As OHIF asks: the encoding that the server has at hand.
FRAMES = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
JSON = "application/dicom+json"
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Taken:
    """One answer.

    Attributes
    ----------
    body
        Of a multipart answer the payload of its one part.
    first_s, prefix_s, whole_s
        From the request to the first byte of the body, to the prefix asked for, to the end.
    """

    status: int
    headers: Message
    body: bytes
    received_bytes: int
    first_s: float
    prefix_s: float
    whole_s: float


class Reader:
    """One kept connection to a server."""

    def __init__(self, url: str) -> None:
        self.root = urlsplit(url).path
        self.connection = load.connect(url)

    def connect(self) -> None:
        """Connect now: TCP, and TLS where the server speaks it."""
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self.connection.close()

    def get(self, path: str, accept: str, *, prefix_bytes: int = 0, headers: Mapping[str, str] | None = None) -> Taken:
        """Ask for something below the server's root and read it to its end.

        Parameters
        ----------
        prefix_bytes
            Bytes of the payload whose arrival is noted; 0 for all.
        """
        headers = {"Accept": accept, **({"Accept-Encoding": "gzip"} if accept == JSON else {}), **(headers or {})}
        start = time.perf_counter()
        answer = self.ask(path, headers)
        body, first_s, prefix_s = bytearray(), 0.0, 0.0
        payload_at = None if answer.headers.get_content_type() == "multipart/related" else 0
        while chunk := answer.read1(_CHUNK_BYTES):
            now = time.perf_counter() - start
            first_s = first_s or now
            body += chunk
            if payload_at is None and (end := body.find(b"\r\n\r\n")) >= 0:
                payload_at = end + 4
            if prefix_bytes and not prefix_s and payload_at is not None and len(body) >= payload_at + prefix_bytes:
                prefix_s = now
        whole_s = time.perf_counter() - start
        answer.close()  # read1 leaves it open at its end
        received = len(body)
        if answer.headers.get("Content-Encoding") == "gzip":
            body = bytearray(gzip.decompress(body))
        if payload_at:
            boundary = answer.headers.get_boundary() or ""
            body = body[payload_at : body.rindex(b"\r\n--" + boundary.encode())]
        return Taken(answer.status, answer.headers, bytes(body), received, first_s, prefix_s or whole_s, whole_s)

    def ask(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Send a request and return the answer's head; over a new connection if the kept one was closed for idling."""
        try:
            self.connection.request("GET", self.root + path, headers=dict(headers))
            return self.connection.getresponse()
        except ConnectionError:
            self.connection.close()
        self.connect()
        self.connection.request("GET", self.root + path, headers=dict(headers))
        return self.connection.getresponse()

    def ok(self, path: str, accept: str, **options: Any) -> Taken:
        """Ask as `get` does; raise unless the answer is 200."""
        taken = self.get(path, accept, **options)
        if taken.status != http.client.OK:
            raise RuntimeError(f"{self.root}{path}: {taken.status} {taken.body[:200]!r}")
        return taken

    def json(self, path: str) -> Any:
        """Return a JSON answer."""
        return json.loads(self.ok(path, JSON).body)


class Export:
    """Reads paths in turn over several connections, in the background; keeps when how much came.

    Parameters
    ----------
    etags
        Validators of what the reader holds, by path: those are asked for only if they changed.
    """

    def __init__(
        self,
        url: str,
        paths: Sequence[str],
        *,
        connections: int,
        headers: Mapping[str, str],
        etags: Mapping[str, str] | None = None,
        accept: str = FRAMES,
    ) -> None:
        self._left = list(reversed(paths))
        self._headers = {"Accept": accept, **headers}
        self._etags = etags or {}
        self.validators: dict[str, str] = {}
        self._ended = threading.Event()
        self.arrivals: list[tuple[float, int]] = []
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._read, args=(Reader(url),), daemon=True) for _ in range(connections)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def is_running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """End after the answers under way."""
        self._ended.set()
        self.wait()

    def wait(self) -> None:
        """Return when all was read."""
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def goodput_bits_s(self, without: Sequence[tuple[float, float]]) -> float:
        """Return the rate from first to last arrival, outside some spans of time."""
        start, end = self.arrivals[0][0], self.arrivals[-1][0]
        spans = [(max(start, begin), min(end, until)) for begin, until in without]
        seconds = end - start - sum(max(0.0, until - begin) for begin, until in spans)
        kept = sum(size for at, size in self.arrivals if not any(begin <= at <= until for begin, until in spans))
        return kept * 8 / seconds

    def _read(self, reader: Reader) -> None:
        try:
            while self._left and not self._ended.is_set():
                self._take(reader, self._left.pop())
        except BaseException as error:  # noqa: BLE001 - told by wait()
            self._failures.append(error)
        finally:
            reader.close()

    def _take(self, reader: Reader, path: str) -> None:
        headers = dict(self._headers)
        if path in self._etags:
            headers["If-None-Match"] = self._etags[path]
        answer = reader.ask(path, headers)
        while chunk := answer.read1(_CHUNK_BYTES):
            self.arrivals.append((time.perf_counter(), len(chunk)))
        answer.close()
        if answer.status not in (http.client.OK, http.client.NOT_MODIFIED):
            raise RuntimeError(f"{path}: {answer.status}")
        if etag := answer.headers.get("ETag"):
            self.validators[path] = etag
