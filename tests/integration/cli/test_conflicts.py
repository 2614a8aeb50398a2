"""``nearframe conflicts`` and ``nearframe report`` against a running origin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from nearframe.cli import main
from tests.integration.cli.conftest import Running


@pytest.fixture(scope="module")
def conflicted(start: Callable[..., Running], samples: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Running:
    """An origin that got an instance twice, with other pixels the second time."""
    node = start("origin", tmp_path_factory.mktemp("conflicted"))
    ds = pydicom.dcmread(samples[0])
    ds.PixelData = bytes(len(ds.PixelData))
    other = tmp_path_factory.mktemp("other") / "other.dcm"
    ds.save_as(other)
    assert main(["import", *map(str, samples), "--to", node.url, "--quiet"]) == 0
    main(["import", str(other), "--to", node.url, "--quiet"])
    return node


def test_a_conflict_is_listed_and_resolved(
    conflicted: Running, samples: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    url = ["--url", conflicted.url]
    assert main(["conflicts", "list", *url]) == 1
    told = capsys.readouterr().out
    assert "open" in told
    assert "1 frame" in told
    assert f"[{pydicom.dcmread(samples[0]).PatientID}]" in told
    assert main(["conflicts", "list", *url, "--json"]) == 1
    (conflict,) = json.loads(capsys.readouterr().out)
    assert (conflict["version"], conflict["current_version"]) == (2, 1)
    assert main(["conflicts", "resolve", str(conflict["id"]), "--keep", "incoming", *url]) == 0
    assert "Version 2 is current now" in capsys.readouterr().out
    assert main(["conflicts", "list", *url]) == 0
    assert "No open conflicts" in capsys.readouterr().out
    assert main(["conflicts", "list", "--all", *url]) == 0
    assert "incoming" in capsys.readouterr().out
    assert main(["conflicts", "resolve", str(conflict["id"]), "--keep", "current", *url]) == 2


def test_resolving_what_is_not_there(conflicted: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conflicts", "resolve", "999", "--keep", "current", "--url", conflicted.url]) == 2
    assert "no such conflict" in capsys.readouterr().err


def test_report_tells_proved_from_proposed(conflicted: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "dedupe", "--url", conflicted.url]) == 0
    text = capsys.readouterr().out
    assert "Proved by digest" in text
    assert "Look the same, not proved" in text
    assert main(["report", "dedupe", "--url", conflicted.url, "--json"]) == 0
    assert {"exact_duplicates", "metadata_only", "same_pixels", "perceptual_candidates"} <= set(
        json.loads(capsys.readouterr().out)
    )
