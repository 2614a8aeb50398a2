"""``nearframe import`` into a node that is wiped between two runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nearframe.cli import main
from tests.integration.cli.conftest import Running

UNREADABLE = b"\0" * 128 + b"DICM" + b"\0" * 64  # refused, so the import stays incomplete and its journal is kept


def test_a_wiped_archive_is_sent_everything(
    start: Callable[..., Running], samples: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken").write_bytes(UNREADABLE)
    paths = [*samples, tmp_path / "broken"]
    node = start("origin", tmp_path / "home")

    def imported() -> tuple[int, int]:
        main(["import", *map(str, paths), "--to", node.url, "--state", str(tmp_path / "state"), "--json"])
        report = json.loads(capsys.readouterr().out)
        return report["stored"], report["resumed"]

    assert imported() == (2, 0)
    assert imported() == (0, 2)
    stop(node)
    node = start_again(start, node)
    assert imported() == (0, 2), "the same archive after a restart"
    stop(node)
    shutil.rmtree(node.home)
    start_again(start, node)
    assert imported() == (2, 0)


def stop(node: Running) -> None:
    node.process.terminate()
    node.process.wait(20)


def start_again(start: Callable[..., Running], node: Running) -> Running:
    """Start a node on the home and the port it had."""
    return start("origin", node.home, "--http", node.url.removeprefix("http://"))
