"""``nearframe hold`` and ``nearframe correct purge`` against a running origin, and what the node says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from nearframe.cli import main
from tests.integration.cli.conftest import Running
from tests.packs import bodies_below

WHY = ["--reason", "case 12"]


@pytest.fixture(scope="module")
def archive(start: Callable[..., Running], samples: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Running:
    """An origin with one study that DELETE may remove."""
    node = start("origin", tmp_path_factory.mktemp("held"), "--delete-policy", "remove")
    assert main(["import", *map(str, samples), "--to", node.url, "--quiet"]) == 0
    return node


def test_a_hold_stands_in_every_way_until_it_is_released(
    archive: Running, samples: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ds = pydicom.dcmread(samples[0])
    study, url = str(ds.StudyInstanceUID), ["--url", archive.url]

    def printed() -> Any:
        return json.loads(capsys.readouterr().out)

    assert main(["hold", "list", *url]) == 0
    assert "No holds stand." in capsys.readouterr().out
    assert main(["hold", "add", "--patient", str(ds.PatientID), *WHY, *url, "--json"]) == 0
    hold = printed()
    assert (hold["patient"], hold["studies"], hold["by"]) == ({"id": ds.PatientID, "issuer": ""}, 1, "local_admin")
    assert main(["correct", "delete", study, *WHY, *url]) == 2
    assert f"legal hold {hold['id']}" in capsys.readouterr().err
    for command in (
        ["correct", "merge", str(ds.PatientID), "PID-9", "PatientName=Roe^Richard"],
        ["correct", "move", study, "--to-new"],
        ["correct", "purge", study],
    ):
        assert main([*command, *WHY, *url]) == 2, command
        assert f"legal hold {hold['id']}" in capsys.readouterr().err
    refused = httpx.delete(f"{archive.url}/dicomweb/studies/{study}")
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    assert (refused.json()["code"], refused.json()["holds"]) == ("OnHold", [hold["id"]])
    assert main(["hold", "list", "--study", study, *url]) == 0
    assert "case 12" in capsys.readouterr().out
    assert main(["hold", "add", "--study", study[:20], *WHY, *url, "--json"]) == 0
    assert (of_study := printed())["study"] == study
    assert main(["hold", "release", str(of_study["id"]), "--reason", "settled", *url]) == 0
    found = httpx.get(f"{archive.url}/api/holds/{hold['id']}").json()
    assert found["kept"] == [study]
    assert main(["hold", "release", str(hold["id"]), "--reason", "settled", *url]) == 0
    assert main(["hold", "release", str(hold["id"]), "--reason", "settled", *url]) == 2
    capsys.readouterr()
    assert main(["hold", "list", "--all", *url]) == 0
    assert "released" in capsys.readouterr().out


def test_what_is_deleted_is_purged_and_its_bytes_go(
    archive: Running, samples: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    study = str(pydicom.dcmread(samples[0]).StudyInstanceUID)
    url = ["--url", archive.url]
    before = bodies_below(archive.home)
    assert main(["correct", "purge", study, *WHY, *url]) == 2
    assert "delete it first" in capsys.readouterr().err
    assert main(["correct", "delete", study, *WHY, *url]) == 0
    assert main(["correct", "purge", study, *WHY, *url]) == 0
    assert "2 instances gone for good" in capsys.readouterr().out
    _wait_for_round(archive.url, "purge")
    assert not before & bodies_below(archive.home)
    assert main(["correct", "list", "--json", *url]) == 0
    purged, deleted, *_ = json.loads(capsys.readouterr().out)
    assert (purged["action"], purged["asked"]) == ("purge", {"studies": [study]})
    assert main(["correct", "undo", str(deleted["id"]), *WHY, *url]) == 2
    assert "for good" in capsys.readouterr().err


@pytest.mark.parametrize(
    "body", [{}, {"study": "1.2", "patient": {"id": "P"}, "reason": "x"}, {"study": "1.2"}, {"study": 3, "reason": "x"}]
)
def test_a_hold_says_what_and_why(archive: Running, body: dict[str, Any]) -> None:
    assert httpx.post(f"{archive.url}/api/holds", json=body).status_code == 400


def test_rounds_are_asked_for_by_name(archive: Running) -> None:
    assert httpx.post(f"{archive.url}/api/upkeep/compaction").status_code == 202
    assert httpx.post(f"{archive.url}/api/upkeep/nothing").status_code == 404


def _wait_for_round(url: str, name: str) -> None:
    with httpx.Client(base_url=url) as client:
        for _ in range(10_000):
            state = client.get("/api/upkeep").json()["rounds"][name]
            if state["finished_at"] and not state["running"]:
                assert not state["failed"], state
                return
    raise AssertionError(f"{name} did not end")
