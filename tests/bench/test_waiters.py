"""The slow upstream of the benchmarks, and the clients that wait for one frame together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench import slow
from bench.peers import Server
from bench.waiters import ask_together, slow_upstream


class _Archive(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = bytes(slow.SLOW_FROM_BYTES if self.path.endswith("/frame") else 10)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def archive() -> Iterator[Server]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Archive) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Server("archive", 0, f"http://127.0.0.1:{running.server_address[1]}/dicomweb")
        running.shutdown()
        thread.join()


def test_a_frame_comes_late_and_slowly_and_its_first_byte_is_told(archive: Server) -> None:
    with slow_upstream(archive) as upstream:
        seen = ask_together(upstream.server.url, "/frame", "*/*", [0.0, 0.0, 0.05])
        firsts = sorted(upstream.first_bytes())
    assert len(firsts) == len(seen)  # nobody collapses them here
    for client, first in zip(sorted(seen, key=lambda one: one.first_byte), firsts, strict=True):
        assert first - 0.002 <= client.first_byte
        assert client.first_byte - client.asked >= slow.FIRST_BYTE_S
        assert client.whole - client.first_byte >= (slow.SLOW_FROM_BYTES // slow.PIECE_BYTES - 1) * slow.PIECE_S
    assert seen[2].asked - seen[0].asked >= 0.045


def test_what_is_short_passes_as_it_is(archive: Server) -> None:
    with slow_upstream(archive) as upstream:
        (seen,) = ask_together(upstream.server.url, "/metadata", "*/*", [0.0])
    assert seen.first_byte == seen.whole


def test_an_answer_that_is_no_success_is_no_figure(archive: Server) -> None:
    with pytest.raises(RuntimeError, match=r"40[04]|50[15]"):
        ask_together(archive.url, "/frame\x20HTTP/9.9", "*/*", [0.0])
