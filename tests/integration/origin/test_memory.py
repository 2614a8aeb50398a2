"""Memory while a large object comes in: the archive holds chunks, never the object."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nearframe.units import GIB, MIB
from tests.integration.origin.test_process import Origin, running

MAX_PSS_BYTES = 300 * MIB
SIDE = 512
FRAME_BYTES = SIDE * SIDE * 2
UID = "1.2.3.4.5"


def header_of(frames: int) -> bytes:
    """Return a multi-frame object up to its pixels."""

    def element(group: int, number: int, vr: str, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value

    short = struct.Struct("<H").pack
    meta = element(0x0002, 0x0010, "UI", b"1.2.840.10008.1.2.1")
    dataset = b"".join(
        (
            element(0x0008, 0x0016, "UI", b"1.2.840.10008.5.1.4.1.1.7.3"),
            element(0x0008, 0x0018, "UI", UID.encode()),
            element(0x0008, 0x0060, "CS", b"OT"),
            element(0x0020, 0x000D, "UI", b"1.2.3"),
            element(0x0020, 0x000E, "UI", b"1.2.4"),
            element(0x0028, 0x0002, "US", short(1)),
            element(0x0028, 0x0004, "CS", b"MONOCHROME2 "),
            element(0x0028, 0x0008, "IS", str(frames).encode()),
            element(0x0028, 0x0010, "US", short(SIDE)),
            element(0x0028, 0x0011, "US", short(SIDE)),
            element(0x0028, 0x0100, "US", short(16)),
            element(0x0028, 0x0101, "US", short(16)),
            element(0x0028, 0x0102, "US", short(15)),
            element(0x0028, 0x0103, "US", short(0)),
            struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, frames * FRAME_BYTES),
        )
    )
    length = struct.pack("<HH2sHL", 0x0002, 0x0000, b"UL", 4, len(meta))
    return bytes(128) + b"DICM" + length + meta + dataset


def body(frames: int) -> Iterator[bytes]:
    yield header_of(frames)
    pattern = bytes(range(256)) * (FRAME_BYTES // 256)
    for number in range(frames):
        yield struct.pack("<Q", number) + pattern[8:]


def pss_bytes(pid: int) -> int:
    """Return the proportional set size of a process."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))


class Peak:
    """The largest memory a process had while watched."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            self.bytes = max(self.bytes, pss_bytes(self._pid))


def take_in(origin: Origin, size_bytes: int) -> int:
    """Store a multi-frame object of about this size; return the peak of the archive's memory."""
    frames = size_bytes // FRAME_BYTES
    length = len(header_of(frames)) + frames * FRAME_BYTES
    headers = {"content-type": "application/dicom", "content-length": str(length)}
    with Peak(origin.process.pid) as peak:
        answer = origin.client.post("/dicomweb/studies", content=body(frames), headers=headers, timeout=600)
        assert answer.status_code == 200, answer.text
    (version,) = origin.client.get(f"/api/instances/{UID}/versions").json()["versions"]
    assert (version["frames"], version["file_bytes"]) == (frames, length)
    url = f"/dicomweb/studies/1.2.3/series/1.2.4/instances/{UID}/frames/{frames}"
    last = origin.client.get(url, headers={"accept": "application/octet-stream"})
    assert last.content[:8] == struct.pack("<Q", frames - 1)
    return peak.bytes


@pytest.mark.parametrize("size_bytes", [256 * MIB, pytest.param(GIB, marks=pytest.mark.drill)])
def test_memory_does_not_grow_with_the_object(root: Path, tmp_path: Path, size_bytes: int) -> None:
    with running(root, tmp_path / "home") as origin:
        assert take_in(origin, size_bytes) <= MAX_PSS_BYTES


@pytest.mark.drill
def test_ten_large_objects_at_once_cost_no_more(root: Path, tmp_path: Path) -> None:
    with running(root, tmp_path / "home") as origin, Peak(origin.process.pid) as peak:
        frames = 128 * MIB // FRAME_BYTES
        length = len(header_of(frames)) + frames * FRAME_BYTES
        headers = {"content-type": "application/dicom", "content-length": str(length)}

        def store() -> None:
            httpx.post(
                origin.client.base_url.join("/dicomweb/studies"), content=body(frames), headers=headers, timeout=600
            )

        senders = [threading.Thread(target=store) for _ in range(10)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert peak.bytes <= MAX_PSS_BYTES
