"""Starting and stopping nodes as a user does."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from nearframe.listener.devtls import ensure
from tests.integration.cli.conftest import Running


def refused(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nearframe", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_without_insecure_it_does_not_start_and_says_why(root: Path, tmp_path: Path) -> None:
    said = refused(root, "origin", "--home", str(tmp_path / "home"))
    assert "no access control" in said
    assert not (tmp_path / "home").exists()


def test_insecure_listens_on_loopback_only(root: Path, tmp_path: Path) -> None:
    said = refused(root, "origin", "--home", str(tmp_path / "home"), "--insecure", "--http", "0.0.0.0:0")
    assert "reachable from other machines" in said


def test_a_second_node_on_the_same_home_is_refused(root: Path, origin: Running) -> None:
    said = refused(root, "origin", "--home", str(origin.home), "--insecure", "--http", "127.0.0.1:0")
    assert "home" in said or "use" in said


def test_health_metrics_and_api_description(origin: Running) -> None:
    with httpx.Client(base_url=origin.url) as client:
        assert client.get("/healthz").json()["status"] == "ok"
        text = client.get("/metrics").text
        assert 'nearframe_http_requests_total{route="other",status="2xx"}' in text
        assert client.get("/openapi.json").json()["openapi"].startswith("3.")
        assert client.get("/metrics", headers={"Host": "rebound.example"}).status_code == 421


def test_an_edge_without_its_upstream_is_degraded_and_says_so(start: Callable[..., Running], tmp_path: Path) -> None:
    edge = start("edge", tmp_path / "edge", "--upstream", "http://127.0.0.1:9")
    health = httpx.get(f"{edge.url}/healthz")
    assert health.status_code == 200
    assert health.json()["status"] == "degraded"
    assert "upstream does not answer" in health.json()["checks"]["upstream"]["reason"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well(start: Callable[..., Running], tmp_path: Path, number: signal.Signals) -> None:
    node = start("origin", tmp_path / "home")
    node.process.send_signal(number)
    assert node.process.wait(20) == 0


def test_tls(start: Callable[..., Running], tmp_path: Path) -> None:
    made = ensure(tmp_path / "tls", datetime.now(UTC))
    node = start(
        "origin", tmp_path / "home", "--tls-cert", str(made.files.certificate), "--tls-key", str(made.files.key)
    )
    with httpx.Client(http2=True, verify=ssl.create_default_context(cafile=made.authority)) as client:
        answer = client.get(f"{node.url}/healthz")
    assert node.url.startswith("https://")
    assert answer.http_version == "HTTP/2"
