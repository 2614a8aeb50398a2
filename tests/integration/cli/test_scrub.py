from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nearframe.cli import main
from tests.integration.cli.conftest import Running


def test_a_running_node_scrubs_itself(origin: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scrub", "--url", origin.url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["running"], found["damaged"]) == (False, 0)
    assert found["contents"] >= 2


def test_a_stopped_node_is_scrubbed_in_place_and_damage_is_told(
    start: Callable[..., Running], samples: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = start("origin", tmp_path)
    assert main(["import", *map(str, samples), "--to", node.url, "--quiet"]) == 0
    assert main(["scrub", "--home", str(tmp_path)]) == 2  # its node runs
    node.process.terminate()
    assert node.process.wait(20) == 0
    assert main(["scrub", "--home", str(tmp_path)]) == 0
    capsys.readouterr()
    pack = max((tmp_path / "packs").glob("*"), key=lambda path: path.stat().st_size)
    damaged = bytearray(pack.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    pack.write_bytes(damaged)
    assert main(["scrub", "--home", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["damaged"] >= 1


def test_no_store_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scrub", "--home", str(tmp_path)]) == 2
    assert "no store is there" in capsys.readouterr().err
