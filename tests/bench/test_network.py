"""The two sites of the benchmarks: TCP over the line, as the kernel does it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import network


@pytest.mark.drill
def test_the_line_is_as_long_and_as_thin_as_it_says(root: Path) -> None:
    reason = network.why_not()
    if reason is not None:
        pytest.skip(reason)
    command = [sys.executable, "-m", "bench.network", "--seconds", "4", "--json"]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    for proof in json.loads(done.stdout):
        assert 40 <= proof["round_trip_ms"] <= 60, proof
        # Never faster than the line; how near to it depends on what else the machine does meanwhile.
        assert 0.6 <= proof["goodput"] <= 1.005, proof
        assert 0.85 <= proof["goodput_of_eight"] <= 1.005, proof
        assert abs(proof["counted"] / network.PAYLOAD_SHARE - 1) < 0.02, proof
        assert 60 <= proof["queued_ms"] <= proof["should_queue_ms"] + 20, proof


def test_where_there_can_be_no_sites_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "/dev/net/tun" in (network.why_not() or "")
