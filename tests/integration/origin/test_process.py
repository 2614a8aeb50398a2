"""A whole node as a process, an origin mostly: killed, watched by strace, on a file system that is full."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pydicom
import pytest

from tests.integration.origin.test_ingest import edited, packaged, uid_of

CT = packaged("CT_small.dcm")
MAX_FILES = 2000
PART10 = {"accept": "application/dicom"}


@dataclass(frozen=True)
class Origin:
    process: subprocess.Popen[str]
    client: httpx.Client

    def store(self, data: bytes) -> httpx.Response:
        return self.client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})

    def versions(self, uid: str) -> list[bytes]:
        """Return every stored version of an instance."""
        answer = self.client.get(f"/api/instances/{uid}/versions")
        if answer.status_code == 404:
            return []
        return [self.client.get(version["url"], headers=PART10).content for version in answer.json()["versions"]]


@contextmanager
def running(root: Path, home: Path, role: Sequence[str] = ("origin",), reserve: str = "0") -> Iterator[Origin]:
    command = [sys.executable, "-m", "nearframe", *role, "--home", str(home), "--insecure"]
    process = subprocess.Popen(
        [*command, "--http", "127.0.0.1:0", "--disk-reserve-bytes", reserve, "--disk-high-mark-bytes", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"https?://[^/]+", line)
        assert found, line
        with httpx.Client(base_url=found[0], timeout=60, verify=False) as client:
            yield Origin(process, client)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


def numbered(number: int) -> bytes:
    return edited(CT, SOPInstanceUID=f"1.2.3.{number}", InstanceNumber=str(number))


def noisy(number: int, side: int = 320) -> bytes:
    """Return an instance whose pixels no store can make smaller."""
    ds = pydicom.dcmread(io.BytesIO(numbered(number)))
    ds.Rows = ds.Columns = side
    ds.PixelData = os.urandom(side * side * 2)
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def test_what_was_acknowledged_outlives_a_kill(root: Path, tmp_path: Path) -> None:
    acknowledged: list[bytes] = []
    enough = threading.Event()

    def store(origin: Origin, first: int) -> None:
        for number in range(first, MAX_FILES, 4):
            data = numbered(number)
            try:
                answer = origin.store(data)
            except httpx.TransportError:
                return
            if answer.status_code == 200:
                acknowledged.append(data)
            if len(acknowledged) >= 24:
                enough.set()

    with running(root, tmp_path / "home") as origin:
        senders = [threading.Thread(target=store, args=(origin, first)) for first in range(4)]
        for sender in senders:
            sender.start()
        assert enough.wait(60)
        origin.process.kill()
        for sender in senders:
            sender.join()
        origin.process.wait()
    assert len(acknowledged) < MAX_FILES, "it was killed while it took in"
    with running(root, tmp_path / "home") as origin:
        for data in acknowledged:
            assert origin.versions(uid_of(data)) == [data]
        assert origin.store(acknowledged[0]).status_code == 200
        assert origin.versions(uid_of(acknowledged[0])) == [acknowledged[0]]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_no_acknowledgement_before_packs_and_catalogue_are_synced(root: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with running(root, tmp_path / "home") as origin, watching(origin.process.pid, trace):
        assert origin.store(CT).status_code == 200
        origin.process.send_signal(signal.SIGTERM)
        origin.process.wait(30)
    calls = trace.read_text(errors="replace").splitlines()
    answer = _last(calls, r'(write|writev|sendto|sendmsg)\(.*"HTTP/1\.1 200')
    for where in (r"/packs/[^/>]+", r"catalogue\.sqlite-wal"):
        wrote = _last(calls[:answer], rf"p?write(v|64|v2)?\(\d+<[^>]*{where}>")
        _last(calls[wrote:answer], rf"f(data)?sync\(\d+<[^>]*{where}>\)\s+= 0|fdatasync resumed")
    assert not any("HTTP/1.1 200" in call for call in calls[:answer])


@contextmanager
def watching(pid: int, trace: Path) -> Iterator[None]:
    """Write the system calls of a process to a file until it ends."""
    watched = "trace=fdatasync,fsync,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg"
    command = ["strace", "--follow-forks", "--decode-fds=path", "-e", watched, "-s", "16", "-o", str(trace), "-p"]
    strace = subprocess.Popen([*command, str(pid)], stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    try:
        line = strace.stderr.readline()
        if "attached" not in line:
            pytest.skip(f"strace cannot attach: {line}")
        yield
    finally:
        strace.terminate()
        strace.wait(30)
        strace.stderr.close()


def _last(calls: list[str], pattern: str) -> int:
    found = [number for number, call in enumerate(calls) if re.search(pattern, call)]
    assert found, f"no call like {pattern}"
    return found[-1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not possible here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_file_system_is_refused_and_read_on(root: Path, small_disk: Path) -> None:
    with running(root, small_disk / "home") as origin:
        acknowledged, refusal = [], None
        for number in range(MAX_FILES):
            data = noisy(number)
            answer = origin.store(data)
            if answer.status_code != 200:
                refusal = answer
                break
            acknowledged.append(data)
        assert refusal is not None
        assert refusal.status_code == 507
        assert refusal.headers["content-type"] == "application/problem+json"
        for data in acknowledged[:: max(1, len(acknowledged) // 10)]:
            assert origin.versions(uid_of(data)) == [data]
    with running(root, small_disk / "home") as origin:
        assert origin.versions(uid_of(acknowledged[-1])) == [acknowledged[-1]]


def test_in_the_reserve_reading_correcting_and_deleting_go_on(root: Path, small_disk: Path) -> None:
    filler, ds = small_disk / "filler", pydicom.dcmread(io.BytesIO(CT))
    selected = {"select": {"study": str(ds.StudyInstanceUID)}, "reason": "typed wrongly"}
    with running(root, small_disk / "home", reserve="14MiB") as origin:

        def correct(action: str, **more: object) -> httpx.Response:
            return origin.client.post("/api/corrections", json={"action": action, **selected, **more})

        assert origin.store(CT).status_code == 200
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 11 * 2**20)
        refused = origin.store(noisy(1))
        assert (refused.status_code, refused.headers["content-type"]) == (507, "application/problem+json")
        disk = origin.client.get("/healthz").json()["checks"]["disk"]
        assert disk["state"] == "degraded"
        assert "nothing more is taken in, while reading, deleting and correcting go on" in disk["reason"]
        renamed = correct("attributes", set={"PatientName": "Doe^Jane"})
        assert renamed.status_code == 200, renamed.text
        assert origin.client.post(f"/api/corrections/{renamed.json()['id']}/undo", json=selected).status_code == 200
        assert origin.versions(str(ds.SOPInstanceUID))[0] == CT
        assert correct("delete").status_code == 200
        filler.unlink()
        assert origin.store(noisy(2)).status_code == 200


@pytest.mark.parametrize("role", [("origin",), ("edge", "--upstream", "http://127.0.0.1:9")])
def test_killed_on_a_full_file_system(root: Path, small_disk: Path, role: Sequence[str]) -> None:
    """It starts again, shows what it holds, refuses what it has no room for, and takes it once there is room."""
    filler, ds = small_disk / "filler", pydicom.dcmread(io.BytesIO(CT))
    file = f"/dicomweb/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    with running(root, small_disk / "home", role) as node:
        assert node.store(CT).status_code == 200
        fill(filler)
        assert node.store(noisy(1)).status_code == 507
        node.process.kill()
        node.process.wait()
    with running(root, small_disk / "home", role) as node:
        answer = node.client.get(file, headers={"accept": "application/dicom; transfer-syntax=*"})
        assert answer.content == CT
        assert node.store(noisy(2)).status_code == 507
        filler.unlink()
        assert node.store(noisy(3)).status_code == 200


def fill(filler: Path) -> None:
    """Take all the room that a file system has."""
    with filler.open("wb") as file, suppress(OSError):
        while True:
            os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), 4096)
