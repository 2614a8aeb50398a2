"""Mistakes that people make: each is answered in one line that says what to do, and never with a traceback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nearframe.cli import main
from tests.integration.cli.conftest import Running

CLOSED = "http://127.0.0.1:9"
CLOSED_PEER = "127.0.0.1:9"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: with a file that is no folder, settings that are none, and a text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "file").write_text("hello")
    (tmp_path / "bad.toml").write_text("not toml [")
    (tmp_path / "unknown.toml").write_text("\nmax_framez = 3")
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "role").write_text("edge\n")
    return tmp_path


@pytest.fixture
def stranger() -> Iterator[str]:
    """An HTTP server that is no node."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"Message": "Unknown resource"}'  # as Orthanc says it
            self.send_response(404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


ORIGIN = "origin --insecure --http 127.0.0.1:0"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("origin", 2, "--insecure"),
        ("origin --insecure --http 0.0.0.0:0", 2, "reachable from other machines"),
        ("origin --insecure --http nonsense", 2, "expected HOST:PORT"),
        (f"{ORIGIN} --home file", 2, "--home file: File exists"),
        (f"{ORIGIN} --home file/below", 2, "--home file/below: Not a directory"),
        (f"{ORIGIN} --home edge", 2, "--home edge is the home of an edge"),
        (f"{ORIGIN} --config bad.toml", 2, "bad.toml: not TOML"),
        (f"{ORIGIN} --config unknown.toml", 2, "line 2: no setting is called max_framez; did you mean max_frames?"),
        (f"{ORIGIN} --config absent.toml", 2, "absent.toml: No such file"),
        (f"{ORIGIN} --max-frames many", 2, "--max-frames"),
        (f"{ORIGIN} --tls-cert absent --tls-key absent", 2, "cannot read tls_cert or tls_key"),
        (f"{ORIGIN} --tls-cert file", 2, "TLS needs both"),
        (f"{ORIGIN} --database-url nonsense", 2, "expected postgresql://"),
        ("edge --insecure --http 127.0.0.1:0", 2, "--upstream"),
        (
            "edge --insecure --upstream-kind dicomweb --upstream http://127.0.0.1:9 --dicom 127.0.0.1:0",
            2,
            "before an archive that speaks DICOMweb alone takes no associations",
        ),
        (
            "edge --insecure --upstream nonsense",
            2,
            "upstream cannot be 'nonsense': expected an http:// or https:// URL",
        ),
        ("edge --insecure --upstream http://localhost:8042", 2, "where this edge itself is to listen"),
        (f"study list --url {CLOSED}", 3, "is the node running?"),
        ("study list --url 127.0.0.1:8042", 2, "expected http:// or https://"),
        (f"import file --to {CLOSED} --retry-for 0", 3, "cannot be reached"),
        ("import file --to 127.0.0.1:8042", 2, "--to wants the URL of a server"),
        (f"import file --to {CLOSED} --parallel 99", 2, "expected a whole number from 1 to 32"),
        (f"import file --to {CLOSED} --state file", 3, "cannot be reached"),
        ("scrub --home absent", 2, "no store is there"),
        ("tls dev --home file", 2, "Not a directory"),
        ("viewer install --archive absent", 2, "No such file"),
        ("demo --data absent", 2, "absent does not exist"),
        (f"dicom send PACS@{CLOSED_PEER} absent", 2, "absent does not exist"),
        (f"import absent --to {CLOSED}", 2, "absent does not exist"),
        ("frobnicate", 2, "invalid choice"),
    ],
)
def test_says_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str], command: str, code: int, said: str) -> None:
    assert run(*command.split(), *(["--retry-for", "0"] if "--state" in command else [])) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert not captured.out or "0 of 0 files stored" in captured.out


def run(*arguments: str) -> int:
    try:
        return main(arguments)
    except SystemExit as usage:
        assert isinstance(usage.code, int)
        return usage.code


def test_a_server_that_is_no_node(stranger: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("study list", "conflicts list", "report dedupe"):
        assert main([*command.split(), "--url", stranger]) == 3
        assert "which no nearframe node says; --url names the node" in capsys.readouterr().err


def test_an_edge_asked_for_what_the_origin_has(
    start: Callable[..., Running], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edge = start("edge", tmp_path / "edge", "--upstream", CLOSED)
    for command in ("conflicts list", "report dedupe"):
        assert main([*command.split(), "--url", edge.url]) == 2
        assert "looked after at the origin; ask it" in capsys.readouterr().err


def test_a_port_that_is_taken(origin: Running, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["origin", "--insecure", "--home", "other", "--http", origin.url.removeprefix("http://")]) == 2
    assert "Address already in use; choose another address" in capsys.readouterr().err


def test_nothing_to_import(origin: Running, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "file", "--to", origin.url]) == 1
    assert "there is no DICOM at these places" in capsys.readouterr().err


def test_a_study_that_is_not_there(origin: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "show", "9.9", "--url", origin.url]) == 2
    assert "nearframe study list shows which there are" in capsys.readouterr().err
