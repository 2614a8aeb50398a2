"""A store server that remembers what it got and answers as told."""

from __future__ import annotations

import io
import json
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from nearframe.wire.multipart import MultipartParser, PartData, PartEnd, PartStart


def dicom_file(uid: str | None = None, *, size: int = 0, sop_class: str = "1.2.840.10008.5.1.4.1.1.7") -> bytes:
    """Return a small Part 10 file."""
    ds = pydicom.Dataset()
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = uid or generate_uid()
    ds.StudyInstanceUID = ds.SeriesInstanceUID = "1.2.3"
    ds.EncapsulatedDocument = bytes(size + size % 2)
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def uid_of(data: bytes) -> str:
    return str(pydicom.dcmread(io.BytesIO(data), force=True).SOPInstanceUID)


@dataclass
class StoreServer:
    """Attributes tell what came in; `script` holds answers to give before the usual one."""

    url: str = ""
    requests: list[list[bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    #: Called with the parts of a request; returns (status, body) to answer so, None to hang up.
    script: deque[Callable[[list[bytes]], tuple[int, object] | None]] = field(default_factory=deque)
    #: Answered to ``GET /api/status``; None for a server that knows no such thing.
    status: object = None
    failing: dict[str, int] = field(default_factory=dict)
    warning: dict[str, int] = field(default_factory=dict)
    arrived: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def files(self) -> Counter[bytes]:
        return Counter(part for parts in self.requests for part in parts)

    def answer(self, parts: list[bytes]) -> tuple[int, object]:
        stored, failed = [], []
        for part in parts:
            uid = uid_of(part)
            item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
            if uid in self.failing:
                item["00081197"] = {"vr": "US", "Value": [self.failing[uid]]}
                failed.append(item)
            else:
                if uid in self.warning:
                    item["00081196"] = {"vr": "US", "Value": [self.warning[uid]]}
                stored.append(item)
        body: dict[str, Any] = {}
        if stored:
            body["00081199"] = {"vr": "SQ", "Value": stored}
        if failed:
            body["00081198"] = {"vr": "SQ", "Value": failed}
        return (200 if not failed else 202 if stored else 409), body


def handler_of(server: StoreServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known = self.path == "/api/status" and server.status is not None
            self._answer(200 if known else 404, server.status if known else {})

        def do_POST(self) -> None:
            server.connections.add(self.client_address)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            boundary = re.search(r"boundary=([^;\s]+)", self.headers["Content-Type"])
            assert boundary is not None
            parts = read_parts(boundary[1], body)
            with server.lock:
                server.requests.append(parts)
                server.headers.append(dict(self.headers.items()))
                special = server.script.popleft() if server.script else None
            server.arrived.set()
            answer = special(parts) if special else server.answer(parts)
            if answer is None:
                self.close_connection = True
                return
            self._answer(*answer)

        def _answer(self, status: int, reply: object) -> None:
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def read_parts(boundary: str, body: bytes) -> list[bytes]:
    parser = MultipartParser(boundary)
    parts: list[bytearray] = []
    for event in parser.feed(body):
        if isinstance(event, PartStart):
            assert event.headers["content-type"] == "application/dicom"
            parts.append(bytearray())
        elif isinstance(event, PartData):
            parts[-1] += event.data
        else:
            assert not isinstance(event, PartEnd) or parts
    parser.close()
    return [bytes(part) for part in parts]


@pytest.fixture
def server() -> Iterator[StoreServer]:
    store = StoreServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(store))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    store.url = f"http://127.0.0.1:{http.server_port}"
    yield store
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of ten files and some that are not DICOM."""
    home = tmp_path / "disc"
    for number in range(10):
        path = home / f"series{number % 2}" / f"IM{number:03}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dicom_file(f"1.2.3.{number}", size=1000 * number))
    (home / "readme.txt").write_text("a viewer would be here")
    (home / "empty").touch()
    return home
