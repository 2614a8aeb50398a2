"""An archive that is backed up into a bucket, lost, and brought back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nearframe.cli import main
from tests.integration.origin.test_ingest import uid_of
from tests.integration.origin.test_process import numbered, running
from tests.radosgw import REGION, Radosgw

pytestmark = [pytest.mark.radosgw, pytest.mark.drill]

Command = Callable[..., Any]


@pytest.fixture
def nearframe(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command and returns the JSON that it prints; in a thread, whose priority it may lower."""

    def run(*arguments: str | Path) -> Any:
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(main, [*map(str, arguments), "--json"]).result() == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_a_lost_archive_comes_back_from_a_bucket(
    root: Path, tmp_path: Path, radosgw: Radosgw, nearframe: Command
) -> None:
    home, again, key = tmp_path / "home", tmp_path / "again", tmp_path / "root.key"
    files = [numbered(number) for number in range(6)]
    place = str(radosgw.new_bucket())
    server = ("--s3-endpoint", radosgw.options.endpoint, "--s3-region", REGION, "--s3-path-style")
    with running(root, home) as origin:
        for data in files[:4]:
            assert origin.store(data).status_code == 200
        first = nearframe("backup", "--home", home, "--into", place, *server)
        for data in files[4:]:
            assert origin.store(data).status_code == 200
        second = nearframe("backup", "--home", home, "--into", place, "--keep", "1", *server)
    assert (first["instances"], second["instances"], second["removed"]) == (4, 6, 1)
    shutil.copy(home / "keys" / "root.key", key)
    shutil.rmtree(home)
    nearframe("restore", "--from", place, "--root-key", key, "--check", *server)
    nearframe("restore", "--from", place, "--root-key", key, "--home", again, *server)
    with running(root, again) as origin:
        for data in files:
            assert origin.versions(uid_of(data)) == [data]
