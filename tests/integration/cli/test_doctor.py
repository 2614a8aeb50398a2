from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearframe.cli import main
from tests.integration.cli.conftest import Running


def test_a_running_node_is_well(origin: Running, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["doctor", "--home", str(origin.home), "--http", origin.url.removeprefix("http://")]
    code = main([*options, "--disk-reserve-bytes", "1MiB", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (code, found["status"]) == (0, "ok"), found
    assert "the node listens there" in found["checks"]["ports"]["reason"]


def test_what_is_wrong_is_told_with_a_remedy(
    origin: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--home", str(origin.home), "--http", "127.0.0.1:1"]) == 1
    told = capsys.readouterr().out
    assert "failing  node" in told
    assert "give this command the node's --http" in told
    assert main(["doctor", "--home", str(tmp_path / "none"), "--http", "127.0.0.1:0"]) == 1
    assert "does not exist yet" in capsys.readouterr().out
