from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearframe.cli import main
from nearframe.storage.catalogue import CATALOGUE_FILE, open_catalogue
from nearframe.storage.catalogue.migrations import LATEST
from tests.integration.cli.conftest import Running


def test_back_for_an_older_release_and_forward_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--home", str(tmp_path)]) == 2
    assert "no catalogue is there" in capsys.readouterr().err
    open_catalogue(tmp_path / CATALOGUE_FILE).close()
    assert main(["migrate", "--home", str(tmp_path), "--to", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "discarded": {}}
    assert main(["migrate", "--home", str(tmp_path), "--to", "0"]) == 2
    assert "this release can make it 1 to 1" in capsys.readouterr().err
    assert main(["migrate", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"the catalogue has schema {LATEST}\n"


def test_a_running_node_is_stopped_first(origin: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--home", str(origin.home), "--to", "1"]) == 2
    assert "stop it first" in capsys.readouterr().err
