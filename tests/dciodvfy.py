"""What dciodvfy, which checks an object against its IOD, finds wrong."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_dciodvfy = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dicom3tools")


def new_errors(before: bytes, after: bytes, folder: Path) -> set[str]:
    """Return what is wrong with one object and not with the other; nothing if that cannot be read."""
    known = _errors(before, folder)
    # A deflated one, above all.
    return set() if any("read failed" in error for error in known) else _errors(after, folder) - known


def _errors(data: bytes, folder: Path) -> set[str]:
    """Return what is wrong with which attribute, values left out."""
    path = folder / "object.dcm"
    path.write_bytes(data)
    said = subprocess.run(["dciodvfy", "-new", path], capture_output=True, check=False)
    lines = (said.stdout + said.stderr).decode("utf-8", "replace").splitlines()
    return {_without_values(line) for line in lines if line.startswith("Error")}


def _without_values(line: str) -> str:
    where, _, rest = line.partition(">")
    return where.partition("[")[0] + rest.partition("= <")[0].partition("'")[0]
