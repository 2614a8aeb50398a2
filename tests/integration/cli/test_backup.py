"""An archive that is lost while an edge follows it, and comes back from a backup taken while it took in."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from nearframe.cli import main
from nearframe.storage.packs.record import FILE_HEADER_BYTES, HEADER_BYTES
from tests.integration.cli.conftest import Running
from tests.multiparts import store_body
from tests.syncing import STUDY_UID, ct_series, instance_uid

_PATIENCE_S = 60.0

Command = Callable[..., Any]


@pytest.fixture
def nearframe(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command and returns the JSON that it prints; in a thread, whose priority it may lower."""

    def run(*arguments: str | Path) -> Any:
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(main, [*map(str, arguments), "--json"]).result() == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60, trust_env=False, verify=False) as client:
        yield client


def store(http: httpx.Client, url: str, files: list[bytes]) -> None:
    content_type, body = store_body(files)
    headers = {"Content-Type": content_type}
    http.post(f"{url}/dicomweb/studies", content=body, headers=headers).raise_for_status()


def file_at(http: httpx.Client, url: str, file: bytes, series: int) -> bytes:
    uid = instance_uid(file)
    path = f"/dicomweb/studies/{STUDY_UID}/series/{STUDY_UID}.{series}/instances/{uid}"
    answer = http.get(url + path, headers={"Accept": "application/dicom; transfer-syntax=*"})
    answer.raise_for_status()
    return answer.content


def sent_frames(http: httpx.Client, url: str) -> int:
    found = re.search(r'nearframe_sync_sent_total\{kind="frame"\} (\d+)', http.get(f"{url}/metrics").text)
    return int(found[1]) if found else 0


def wait_until_followed(http: httpx.Client, edge: str, origin: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    head = http.get(f"{origin}/api/status").json()["feed"]["head"]
    while http.get(f"{edge}/api/status").json()["upstream"]["cursor"] != head:
        assert time.monotonic() < deadline, "the edge does not follow"
        time.sleep(0.05)


def wait_until_holds(http: httpx.Client, url: str, instances: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while instances_at(http, url) != instances:
        assert time.monotonic() < deadline, f"it holds {instances_at(http, url)} instances, not {instances}"
        time.sleep(0.05)


def instances_at(http: httpx.Client, url: str) -> int:
    return int(http.get(f"{url}/api/status").json()["counts"]["instances"])


def test_a_lost_archive_comes_back_and_its_edge_follows_it(
    start: Callable[..., Running], nearframe: Command, http: httpx.Client, tmp_path: Path
) -> None:
    home, vault, key = tmp_path / "origin", tmp_path / "vault", tmp_path / "key"
    small = ("--no-renditions", "--no-perceptual", "--segment-bytes", "1MiB")
    origin = start("origin", home, *small)
    edge = start("edge", tmp_path / "edge", "--upstream", origin.url)
    before = ct_series(40, rows=64)
    store(http, origin.url, before)
    key.write_bytes((home / "keys" / "root.key").read_bytes())
    first = nearframe("backup", "--home", home, "--into", vault)
    assert (first["instances"], first["studies"]) == (40, 1)

    # Taken while objects come in: whatever was acknowledged before is in it.
    acknowledged: list[bytes] = []
    enough = threading.Event()

    def take_in() -> None:
        for number in range(2, 12):
            series = ct_series(5, rows=64, series=number, seed=number)
            store(http, origin.url, series)
            acknowledged.extend(series)
            if enough.is_set():
                return

    sender = threading.Thread(target=take_in)
    sender.start()
    while not acknowledged:
        time.sleep(0.01)
    safe = list(acknowledged)
    second = nearframe("backup", "--home", home, "--into", vault)
    enough.set()
    sender.join()
    assert 40 + len(safe) <= second["instances"] <= 40 + len(acknowledged)
    assert second["written_bytes"] < second["bytes"]
    wait_until_followed(http, edge.url, origin.url)
    # So that the edge holds the frames too, of what came after the backup as well.
    for number, file in enumerate(acknowledged):
        file_at(http, edge.url, file, 2 + number // 5)
    for file in before:
        file_at(http, edge.url, file, 1)

    origin.process.terminate()
    assert origin.process.wait(20) == 0
    shutil.rmtree(home)
    back = nearframe("restore", "--from", vault, "--root-key", key, "--home", home)
    assert (back["check"]["incomplete"], back["scrub"]["damaged"]) == (0, 0)
    port = origin.url.rpartition(":")[2]
    origin = start("origin", home, *small, "--http", f"127.0.0.1:{port}")
    for file in before:
        assert file_at(http, origin.url, file, 1) == file
    for number, file in enumerate(safe):
        assert file_at(http, origin.url, file, 2 + number // 5) == file

    # What came after the backup comes back from the edge.
    everything = len(before) + len(acknowledged)
    wait_until_holds(http, origin.url, everything)
    for number, file in enumerate(acknowledged):
        assert file_at(http, origin.url, file, 2 + number // 5) == file
    wait_until_holds(http, edge.url, everything)
    wait_until_followed(http, edge.url, origin.url)
    assert sent_frames(http, origin.url) == 0  # roots say what is held
    store(http, origin.url, ct_series(1, rows=64, series=99, seed=99))
    wait_until_followed(http, edge.url, origin.url)
    assert instances_at(http, edge.url) == everything + 1


def test_what_a_person_may_get_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vault, key = tmp_path / "vault", tmp_path / "key"
    assert main(["restore", "--from", str(vault), "--root-key", str(key)]) == 2
    assert "the root key cannot be read (No such file or directory)" in capsys.readouterr().err
    key.write_text("00" * 32)
    assert main(["restore", "--from", str(vault), "--root-key", str(key)]) == 2
    assert "there is no such folder of backups" in capsys.readouterr().err
    vault.mkdir()
    assert main(["restore", "--from", str(vault), "--root-key", str(key)]) == 2
    assert "there is no backup in this folder" in capsys.readouterr().err


def test_a_running_archive_is_mended_from_its_backup(origin: Running, nearframe: Command, tmp_path: Path) -> None:
    nearframe("backup", "--home", origin.home, "--into", tmp_path / "vault")
    pack = max((origin.home / "packs").glob("*.seg"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[FILE_HEADER_BYTES + HEADER_BYTES + 10] ^= 1
    pack.write_bytes(data)
    key = origin.home / "keys" / "root.key"
    found = nearframe("scrub", "--url", origin.url, "--repair-from", tmp_path / "vault", "--root-key", key)
    assert (found["damaged"], found["lost"], found["mended"]) == (1, 1, 1)
    again = nearframe("scrub", "--url", origin.url)
    assert (again["damaged"], again["quarantined"]) == (0, 0)
