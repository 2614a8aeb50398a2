"""``nearframe edge status|list|route|urgency|pin|unpin|purge`` against a running edge, as an engineer uses them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from nearframe.cli import main
from tests.integration.cli.conftest import Running

RULES = '[[route]]\nclass = "active"\nmodality = "CT"\nname = "all CT"\n'


@pytest.fixture(scope="module")
def edge(start: Callable[..., Running], origin: Running, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """An edge that has followed its origin and read its study once."""
    home = tmp_path_factory.mktemp("edge")
    (home / "rules.toml").write_text(RULES)
    node = start("edge", home / "home", "--upstream", origin.url, "--config", str(home / "rules.toml"))
    with httpx.Client(base_url=node.url, timeout=30) as client:
        deadline = time.monotonic() + 30
        while not (found := client.get("/dicomweb/instances").json() or []) or len(found) < 2:
            assert time.monotonic() < deadline
        for one in found:
            uids = [one[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")]
            path = "/dicomweb/studies/{}/series/{}/instances/{}/frames/1".format(*uids)
            assert client.get(path, headers={"Accept": "*/*"}).status_code == 200
    return node


@pytest.fixture
def run(edge: Running, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: str, code: int = 0) -> str:
        assert main(["edge", *arguments, "--url", edge.url]) == code
        said = capsys.readouterr()
        return said.out or said.err

    return run


def study(edge: Running) -> str:
    (found,) = httpx.get(f"{edge.url}/dicomweb/studies").json()
    return str(found["0020000D"]["Value"][0])


def read(run: Callable[..., str], *arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_status_and_routes(edge: Running, run: Callable[..., str]) -> None:
    status = read(run, "status")
    assert status["tiers"]["classes"]["active"]["held"] == 1
    assert "active" in run("status")
    assert "all CT" in run("route")
    assert [one["rule"] for one in read(run, "route")] == [1, 0, 0]
    explained = run("route", "--explain", study(edge)[:20])
    assert "→   1  active   all CT" in explained
    assert "holds   modality = CT   (the study: CT)" in explained


def test_the_nodes_that_a_client_may_ask(edge: Running, origin: Running, run: Callable[..., str]) -> None:
    nodes = read(run, "list")["edges"]
    assert [(node["role"], node["url"]) for node in nodes] == [("edge", edge.url), ("origin", origin.url)]
    head, *rows = run("list").splitlines()
    assert head.split() == ["rank", "name", "role", "healthy", "url"]
    assert [row.split()[2:] for row in rows] == [["edge", "yes", edge.url], ["origin", "yes", origin.url]]


def test_urgency_pins_and_purge(edge: Running, run: Callable[..., str]) -> None:
    uid = study(edge)
    assert "stat, given: fall in the ward, until 2" in run(
        "urgency", uid, "stat", "--reason", "fall in the ward", "--until", "2 h"
    )
    given = read(run, "urgency", uid)["given"]
    assert given["reason"] == "fall in the ward"
    assert datetime.fromisoformat(given["until"]).microsecond == 0
    assert "expected one of" not in run("urgency", uid, "none")
    assert read(run, "urgency", uid)["class"] == "active"
    assert read(run, "pin", uid)["pinned"] is True
    assert "--force" in run("purge", uid, code=1)
    assert read(run, "urgency", uid)["held_bytes"] > 0
    assert read(run, "unpin", uid)["pinned"] is False
    held = read(run, "urgency", uid)["held_bytes"]
    assert held > 0
    assert "1 study" in run("purge", uid)
    after = read(run, "urgency", uid)
    assert (after["held_bytes"], after["departed"]) == (0, "purged")
    assert read(run, "purge", "--all") == {"studies": 0, "bytes": 0}
    assert "no such series" in run("purge", uid, "--series", "1.2", code=1)
    assert "STUDY" in run("purge", code=2)
    assert "2 h" in run("urgency", uid, "stat", "--until", "soon", code=2)


def test_nothing_to_offer_again(run: Callable[..., str]) -> None:
    assert "0 instances" in run("retry")
    assert "edge outbox" in run("retry", "1.2.3", code=1)


def test_an_origin_asked_as_if_it_were_an_edge(origin: Running, capsys: pytest.CaptureFixture[str]) -> None:
    uid = study(origin)
    for command in ("status", "route", f"pin {uid}", f"unpin {uid}", "purge --all", "outbox", "retry"):
        assert main(["edge", *command.split(), "--url", origin.url]) == 2
        assert f"{origin.url} is no edge; --url names the node to ask" in capsys.readouterr().err


def test_urgency_given_at_an_origin(origin: Running, capsys: pytest.CaptureFixture[str]) -> None:
    uid = study(origin)
    for words, said in (
        (["stat", "--reason", "call"], "stat, given: call"),
        ([], "stat, given: call"),
        (["none"], "none given: each edge decides"),
    ):
        # A person pastes the URL of DICOMweb as well.
        assert main(["edge", "urgency", uid, *words, "--url", f"{origin.url}/dicomweb"]) == 0
        assert capsys.readouterr().out == f"class        {said}\n"


def test_what_was_said_outlives_a_kill(
    start: Callable[..., Running], origin: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = start("edge", tmp_path / "home", "--upstream", origin.url)
    deadline = time.monotonic() + 30
    while not httpx.get(f"{node.url}/dicomweb/studies", timeout=30).json():
        assert time.monotonic() < deadline
    uid = study(node)
    while httpx.get(f"{node.url}/api/studies/{uid}/urgency").status_code != 200:
        assert time.monotonic() < deadline
    assert main(["edge", "pin", uid, "--url", node.url]) == 0
    opened = httpx.post(f"{node.url}/api/studies/{uid}/consult", json={"class": "stat", "reason": "call"}).json()
    os.kill(node.process.pid, signal.SIGKILL)
    node.process.wait(20)
    node.process.returncode = 0  # it was us
    again = start("edge", tmp_path / "home", "--upstream", origin.url)
    found = httpx.get(f"{again.url}/api/studies/{uid}/urgency").json()
    assert (found["class"], found["pinned"]) == ("stat", True)
    assert [one["consult"] for one in found["consults"]] == [opened["consult"]]
    closed = httpx.delete(f"{again.url}/api/studies/{uid}/consult").json()["closed"]
    assert [one["reason"] for one in closed] == ["call"]
    assert httpx.delete(f"{again.url}/api/studies/{uid}/consult").status_code == 404
    for body in (
        {"class": "urgent"},
        {"klass": "stat"},
        {"class": "stat", "until": "soon"},
        {"class": "stat", "reason": 3},
    ):
        assert httpx.put(f"{again.url}/api/studies/{uid}/urgency", json=body).status_code == 400
    assert httpx.post(f"{again.url}/api/studies/{uid}/consult", json={"class": "bulk"}).status_code == 400
    assert httpx.post(f"{again.url}/api/studies/{uid}/consult", content=b"{}").status_code == 415
    assert httpx.post(f"{again.url}/api/purge", json={"all": "yes"}).status_code == 400
    capsys.readouterr()
