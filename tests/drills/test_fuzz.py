"""Readers of what strangers send, fuzzed for a while: no error that is not theirs, no hang, no growth."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_SECONDS: Final = 40
_OPTIONS: Final = (f"-max_total_time={_SECONDS}", "-timeout=5", "-rss_limit_mb=512", "-max_len=8192", "-verbosity=0")


@pytest.mark.drill
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is for Linux on x86-64")
@pytest.mark.parametrize("target", ["pdus", "data_sets", "identifiers"])
def test_nothing_breaks_a_reader(target: str, tmp_path: Path) -> None:
    options = [*_OPTIONS, f"-artifact_prefix={tmp_path}/", str(tmp_path)]
    command = [sys.executable, "-m", "tests.drills.fuzzing", target, *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS * 4, check=False)
    found = [path.read_bytes() for pattern in ("crash-*", "timeout-*", "oom-*") for path in tmp_path.glob(pattern)]
    assert done.returncode == 0, f"{found}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
