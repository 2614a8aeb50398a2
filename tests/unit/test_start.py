"""What a program imports before it can do what it was asked: an edge is to show held frames within a second."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Each takes a tenth of a second or more, and the first frame needs none of them.
HEAVY = {"PIL", "httpx", "imagecodecs", "nearframe.app", "numpy", "pydicom", "requests", "rich"}


@pytest.mark.parametrize(
    ("start", "spared"),
    [
        ("import nearframe.cli.edge, nearframe.edgeapp", HEAVY),
        ("from nearframe.cli import build_parser; build_parser('').format_help()", HEAVY | {"sqlalchemy", "granian"}),
        ("from nearframe.cli import build_parser; build_parser('version')", HEAVY | {"sqlalchemy", "granian"}),
    ],
    ids=["an edge", "help", "version"],
)
def test_what_is_heavy_is_not_imported(start: str, spared: set[str], root: Path) -> None:
    command = [sys.executable, "-c", f"{start}\nimport sys\nprint(*sys.modules)"]
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert not spared & set(found.stdout.split())
