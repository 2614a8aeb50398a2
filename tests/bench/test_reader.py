"""The reader of the benchmarks: what it takes the time of, and what it counts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.reader import FRAMES, Export, Reader

PAYLOAD = bytes(range(256)) * 400
BODY = b"--cut\r\nContent-Type: application/octet-stream\r\n\r\n" + PAYLOAD + b"\r\n--cut--\r\n"


class _Frames(BaseHTTPRequestHandler):
    """Answers with the first half of a frame; the second when the test lets it."""

    protocol_version = "HTTP/1.1"
    second_half = threading.Event()

    def do_GET(self) -> None:
        if self.headers["If-None-Match"] == '"held"':
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", 'multipart/related; type="application/octet-stream"; boundary=cut')
        self.send_header("Content-Length", str(len(BODY)))
        self.send_header("ETag", '"new"')
        self.end_headers()
        self.wfile.write(BODY[: len(BODY) // 2])
        self.wfile.flush()
        self.second_half.wait(10)
        self.wfile.write(BODY[len(BODY) // 2 :])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Frames.second_half.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Frames) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/dicomweb"
        running.shutdown()
        thread.join()


def test_the_payload_of_the_one_part_and_the_times_of_its_prefix_and_end(server: str) -> None:
    threading.Timer(0.2, _Frames.second_half.set).start()
    reader = Reader(server)
    taken = reader.ok("/frames/1", FRAMES, prefix_bytes=1_000)
    assert taken.body == PAYLOAD
    assert taken.received_bytes == len(BODY)
    assert taken.first_s <= taken.prefix_s < taken.whole_s
    assert taken.headers["etag"] == taken.headers["ETag"] == '"new"'
    reader.close()


def test_without_a_prefix_the_picture_is_there_with_its_end(server: str) -> None:
    _Frames.second_half.set()
    reader = Reader(server)
    taken = reader.ok("/frames/1", FRAMES)
    assert taken.prefix_s == taken.whole_s
    reader.close()


def test_a_connection_closed_for_idling_is_made_anew(server: str) -> None:
    _Frames.second_half.set()
    reader = Reader(server)
    reader.connect()
    reader.connection.sock.shutdown(socket.SHUT_RDWR)
    assert reader.ok("/frames/1", FRAMES).body == PAYLOAD
    reader.close()


def test_an_export_asks_only_for_what_changed_and_counts_what_came(server: str) -> None:
    _Frames.second_half.set()
    export = Export(server, ["/1", "/2", "/3"], connections=2, headers={}, etags={"/2": '"held"'})
    export.start()
    export.wait()
    assert sum(size for _, size in export.arrivals) == 2 * len(BODY)
    assert export.validators == {"/1": '"new"', "/3": '"new"'}


def test_goodput_leaves_out_the_spans_of_others(server: str) -> None:
    export = Export(server, [], connections=0, headers={})
    export.arrivals = [(float(second), 1_000) for second in range(11)]
    assert export.goodput_bits_s([]) == pytest.approx(11 * 8_000 / 10)
    # Nothing between 2 and 5 counts, neither bytes nor seconds.
    assert export.goodput_bits_s([(2.0, 5.0)]) == pytest.approx(7 * 8_000 / 7)
    assert export.goodput_bits_s([(8.0, 20.0)]) == pytest.approx(8 * 8_000 / 8)
