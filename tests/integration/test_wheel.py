"""The wheel: complete, and installed with pip alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_every_file_of_the_package(root: Path, wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "src/nearframe"], cwd=root, check=True, capture_output=True, text=True
    ).stdout.split()
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {path.removeprefix("src/") for path in tracked} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.name.endswith("-py3-none-any.whl")


def test_it_runs_where_pip_put_it(wheel: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*command, "--target", str(tmp_path), str(wheel)], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-m", "nearframe", "version", "--json"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path), "HOME": os.environ.get("HOME", "/")},  # no PATH: no Node
    )
    assert json.loads(done.stdout)["nearframe"]
