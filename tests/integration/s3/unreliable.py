"""An S3 server behind a line and a front that fail in every way they can: what passes is the real server's."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

_SLOW_DOWN: Final = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>please</Message></Error>"


class Fault(Enum):
    """What happens to a request."""

    NONE = auto()
    SLOW_DOWN = auto()
    #: The line is cut before the server hears of it.
    UNHEARD = auto()
    #: The server does what it was asked, and nobody is told.
    UNANSWERED = auto()
    #: The line is cut in the middle of the answer.
    CUT_SHORT = auto()
    #: One bit of the answer's last byte is another one.
    SPOILED = auto()
    #: One bit of the request's last byte is another one.
    SPOILED_REQUEST = auto()


class Front(ThreadingHTTPServer):
    """Passes requests on to a server of this machine, after the next of `faults`.

    Attributes
    ----------
    faults
        Of the requests to come, in order, for those with the method of `method`.
    asked
        Requests that came, by method.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = port
        self.faults: deque[Fault] = deque()
        self.method = "GET"
        self.asked: Counter[str] = Counter()

    def next_fault(self, method: str) -> Fault:
        self.asked[method] += 1
        return self.faults.popleft() if self.faults and method == self.method else Fault.NONE

    def fail(self, method: str, *faults: Fault) -> None:
        """Have the next requests with a method fail."""
        self.method = method
        self.faults = deque(faults)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        fault = self.server.next_fault(self.command)
        if fault is Fault.UNHEARD:
            self._cut()
            return
        if fault is Fault.SLOW_DOWN:
            self._answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN, len(_SLOW_DOWN))
            return
        if fault is Fault.SPOILED_REQUEST:
            body = _flipped(body)
        behind = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=30)
        try:
            # The signature covers Host: it stays that of the front.
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            behind.request(self.command, self.path, body or None, headers)
            answer = behind.getresponse()
            data = answer.read()
        finally:
            behind.close()
        length = int(answer.getheader("content-length", str(len(data))))
        if fault is Fault.UNANSWERED:
            self._cut()
            return
        if fault is Fault.SPOILED:
            data = _flipped(data)
        if fault is Fault.CUT_SHORT:
            data = data[: len(data) // 2]
        self._answer(answer.status, answer.getheaders(), data, length)
        if fault is Fault.CUT_SHORT:
            self._cut()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815 - the names that the base class calls

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, length: int) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def unreliable(port: int) -> Iterator[Front]:
    """Stand before a server of this machine."""
    with Front(port) as front:
        thread = threading.Thread(target=front.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield front
        finally:
            front.shutdown()
            thread.join()


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1]) if data else data
