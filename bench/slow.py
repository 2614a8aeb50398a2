"""An upstream on a slow day: ``python -m bench.slow URL``, in front of any server.

Passes everything on as it is, but a long body, or a range of one: its first byte comes 50 ms
after the request, and then 10 KB every 20 ms. Says its port on stdout, and then, for each slow
body that begins with the beginning, when its first byte went out (monotonic clock of the
machine, in seconds); ends with stdin.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

from bench import load

SLOW_FROM_BYTES: Final = 100_000
FIRST_BYTE_S: Final = 0.05
PIECE_BYTES: Final = 10_240
PIECE_S: Final = 0.02
_BY_HOP: Final = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class SlowUpstream(BaseHTTPRequestHandler):
    """Forwards one connection's requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    upstream = ""

    def _forward(self) -> None:
        began = time.monotonic()
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        connection = load.connect(self.upstream)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _BY_HOP}
        headers["Host"] = urlsplit(self.upstream).netloc
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        if len(data) < SLOW_FROM_BYTES and answer.status != HTTPStatus.PARTIAL_CONTENT:
            self.end_headers()
            self.wfile.write(data)
            return
        time.sleep(max(0.0, began + FIRST_BYTE_S - time.monotonic()))
        self.end_headers()
        first_at = time.monotonic()
        for at in range(0, len(data), PIECE_BYTES):
            time.sleep(max(0.0, first_at + at / PIECE_BYTES * PIECE_S - time.monotonic()))
            self.wfile.write(data[at : at + PIECE_BYTES])
        if answer.headers.get("Content-Range", "bytes 0-").startswith("bytes 0-"):
            os.write(sys.stdout.fileno(), b"%.6f\n" % first_at)  # in one piece: others write too

    do_GET = do_POST = _forward  # noqa: N815 - names that the base class looks for

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: stdout is for times."""


def main() -> None:
    SlowUpstream.upstream = sys.argv[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowUpstream)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
