"""When those who wait for one frame together see its first byte."""

from __future__ import annotations

import contextlib
import queue
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.peers import Server

_PATIENCE_S = 30.0


class Upstream:
    """A slow upstream (`bench.slow`) in front of a server, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], path: str) -> None:
        assert process.stdout is not None
        self.server = Server("slow upstream", process.pid, f"http://127.0.0.1:{int(process.stdout.readline())}{path}")
        self._first_bytes: queue.SimpleQueue[float] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(process.stdout,), daemon=True).start()

    def first_bytes(self) -> list[float]:
        """Return when the slow bodies that ended since the last call began; monotonic seconds."""
        found = [self._first_bytes.get(timeout=_PATIENCE_S)]
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._first_bytes.get(timeout=0.1))
        return found

    def _listen(self, lines: Iterator[str]) -> None:
        for line in lines:
            self._first_bytes.put(float(line))


@contextlib.contextmanager
def slow_upstream(server: Server) -> Iterator[Upstream]:
    """Put a slow upstream in front of a server."""
    parts = urlsplit(server.url)
    command = [sys.executable, "-m", "bench.slow", f"{parts.scheme}://{parts.netloc}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Upstream(process, parts.path)
        finally:
            assert process.stdin is not None
            process.stdin.close()


@dataclass(frozen=True, slots=True)
class Seen:
    """What one client saw: monotonic seconds."""

    asked: float
    first_byte: float
    whole: float


def ask_together(url: str, path: str, accept: str, joining_s: Sequence[float]) -> list[Seen]:
    """Ask for one path over one connection for each of `joining_s`, at those times after the start.

    One thread watches all of them, so that none waits for another one's turn.
    """
    parts = urlsplit(url)
    request = f"GET {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: {accept}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        watched = stack.enter_context(selectors.DefaultSelector())
        clients = []
        for _ in joining_s:
            sock = stack.enter_context(socket.create_connection((parts.hostname, parts.port)))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            clients.append(_Client(sock))
        start = time.monotonic()
        waiting = sorted(zip(joining_s, clients, strict=True), key=lambda one: one[0])
        left = set(clients)
        while left:
            now = time.monotonic()
            while waiting and start + waiting[0][0] <= now:
                _, client = waiting.pop(0)
                client.asked = time.monotonic()
                client.sock.sendall(request)
                watched.register(client.sock, selectors.EVENT_READ, client)
            patience_s = start + waiting[0][0] - now if waiting else _PATIENCE_S
            for key, _ in watched.select(patience_s) if watched.get_map() else _sleep(patience_s):
                if key.data.receive():
                    watched.unregister(key.fileobj)
                    left.discard(key.data)
            if not waiting and now > start + _PATIENCE_S:
                raise RuntimeError("an answer does not end")
    return [Seen(client.asked, client.first_byte, client.whole) for client in clients]


def _sleep(seconds: float) -> list[tuple[selectors.SelectorKey, int]]:
    time.sleep(max(0.0, seconds))
    return []


class _Client:
    """One connection that asks for one thing."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.asked = self.first_byte = self.whole = 0.0
        self._head = b""
        self._left = -1

    def receive(self) -> bool:
        """Take in what is there; return whether that was all."""
        data = self.sock.recv(1 << 18)
        now = time.monotonic()
        if not data:
            raise RuntimeError(f"cut after {self._head[:100]!r}")
        if self._left < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._left, data = self._length(end), self._head[end + 4 :]
        if data and not self.first_byte:
            self.first_byte = now
        self._left -= len(data)
        self.whole = now
        return self._left <= 0

    def _length(self, end: int) -> int:
        lines = self._head[:end].lower().split(b"\r\n")
        if b" 200 " not in lines[0] + b" ":
            raise RuntimeError(lines[0].decode())
        lengths = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
        if not lengths:
            raise RuntimeError("an answer without a length cannot be followed here")
        return lengths[0]
