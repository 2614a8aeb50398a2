from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from nearframe.cli import main
from nearframe.storage.catalogue import CATALOGUE_FILE, open_catalogue
from nearframe.storage.catalogue.migrations import LATEST
from nearframe.storage.packs.keys import read_root_key, write_root_key
from tests.integration.cli.conftest import Running
from tests.multiparts import store_body
from tests.postgres import create_schema
from tests.radosgw import REGION, Radosgw
from tests.syncing import STUDY_UID, Shelves, ct_series, edited, instance_uid, rename


def test_back_for_an_older_release_and_forward_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--home", str(tmp_path)]) == 2
    assert "no catalogue is there" in capsys.readouterr().err
    open_catalogue(tmp_path / CATALOGUE_FILE).close()
    assert main(["migrate", "--home", str(tmp_path), "--to", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "discarded": {}}
    assert main(["migrate", "--home", str(tmp_path), "--to", "0"]) == 2
    assert "this release can make it 1 to 1" in capsys.readouterr().err
    assert main(["migrate", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"the catalogue has schema {LATEST}\n"


def test_a_running_node_is_stopped_first(origin: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--home", str(origin.home), "--to", "1"]) == 2
    assert "stop it first" in capsys.readouterr().err


@pytest.mark.postgresql
def test_a_catalogue_goes_to_postgresql_while_its_node_serves(
    start: Callable[..., Running], tmp_path: Path, postgres_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read all the while; what comes meanwhile goes along, and after the switch nothing more is taken in."""
    url = create_schema(postgres_server, "converted")
    to = ["migrate", "--home", str(tmp_path), "--to", url]
    files = ct_series(24)
    node = start("origin", tmp_path)
    with httpx.Client(base_url=node.url, trust_env=False, timeout=30) as client:
        store(client, files[:12])
        assert main(to) == 0
        assert "The node goes on as before" in capsys.readouterr().out
        store(client, files[12:])
        store(client, [edited(files[0], rename("Late^Change"))])
        assert main([*to, "--switch", "--json"]) == 0
        done = json.loads(capsys.readouterr().out)
        assert done["switched"]
        assert done["rows"] > len(files)
        head = client.get("/api/status").json()["feed"]["head"]
        refused = sent(client, ct_series(1, series=2))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert len(client.get(f"/dicomweb/studies/{STUDY_UID}/metadata").json()) == len(files)
    assert main([*to, "--switch"]) == 2
    assert "a catalogue in that database already" in capsys.readouterr().err
    assert main(["backup", "--home", str(tmp_path), "--into", str(tmp_path / "vault")]) == 2
    assert "its own tools back up" in capsys.readouterr().err
    assert main(["migrate", "--home", str(tmp_path), "--take-back"]) == 2
    assert "stop it first" in capsys.readouterr().err
    node.process.terminate()
    node.process.wait()
    assert main(["origin", "--home", str(tmp_path), "--insecure", "--http", "127.0.0.1:0"]) == 2  # not from the old one
    assert "set database_url to that" in capsys.readouterr().err
    again = start("origin", tmp_path, "--database-url", url)
    with httpx.Client(base_url=again.url, trust_env=False, timeout=30) as client:
        assert client.get("/api/status").json()["feed"]["head"] == head  # who follows goes on
        shown = client.get(f"/dicomweb/studies/{STUDY_UID}/metadata").json()
        assert len(shown) == len(files)
        assert "Late^Change" in {row["00100010"]["Value"][0]["Alphabetic"] for row in shown}


@pytest.mark.postgresql
def test_why_a_database_cannot_be_had(tmp_path: Path, postgres_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the command has to change is told apart from a server that is away."""
    open_catalogue(tmp_path / CATALOGUE_FILE).close()
    to = ["migrate", "--home", str(tmp_path), "--to"]
    for user, reason in (
        ("postgres", 'database "nowhere" does not exist'),
        ("nobody", 'role "nobody" does not exist'),
    ):
        assert main([*to, f"postgresql://{user}@/nowhere?host={postgres_server}"]) == 2
        assert reason in capsys.readouterr().err
    assert main([*to, f"postgresql://postgres@/nowhere?host={tmp_path}"]) == 3
    told = capsys.readouterr().err
    assert "does not answer us" in told
    assert "No such file or directory" in told


@pytest.mark.postgresql
def test_without_a_node_and_back_again(
    tmp_path: Path, postgres_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = create_schema(postgres_server, "back")
    open_catalogue(tmp_path / CATALOGUE_FILE).close()
    assert main(["migrate", "--home", str(tmp_path), "--to", url, "--switch"]) == 0
    assert "start an origin with --database-url" in capsys.readouterr().out
    assert main(["migrate", "--home", str(tmp_path)]) == 2
    assert "was carried into PostgreSQL: set database_url to that" in capsys.readouterr().err
    assert main(["migrate", "--home", str(tmp_path), "--take-back"]) == 0
    assert "may be started from this catalogue again" in capsys.readouterr().out
    open_catalogue(tmp_path / CATALOGUE_FILE).close()


def sent(client: httpx.Client, files: list[bytes]) -> httpx.Response:
    content_type, body = store_body(files)
    return client.post("/dicomweb/studies", content=body, headers={"Content-Type": content_type})


def store(client: httpx.Client, files: list[bytes]) -> None:
    answer = sent(client, files)
    assert answer.status_code == 200, answer.text


@pytest.mark.postgresql
def test_contents_go_to_a_bucket_from_a_home_without_a_node(
    start: Callable[..., Running], tmp_path: Path, postgres_server: str, radosgw: Radosgw
) -> None:
    """How it goes while a node serves is `tests/drills/test_conversion.py`."""
    url, bucket, files = create_schema(postgres_server, "contents"), radosgw.new_bucket(), ct_series(8, rows=64)
    old = tmp_path / "old"
    shelves = Shelves.open(old)
    shelves.put(files)
    shelves.close()
    at_radosgw = ("--s3-endpoint", radosgw.options.endpoint, "--s3-region", REGION, "--s3-path-style")
    where = ("--to", url, "--contents", str(bucket), "--switch")
    assert main(["migrate", "--home", str(old), *where, *at_radosgw]) == 0
    new = tmp_path / "new"  # another machine: nothing but the key
    write_root_key(new / "keys" / "root.key", read_root_key(old / "keys" / "root.key"))
    again = start("origin", new, "--database-url", url, "--s3-url", str(bucket), *at_radosgw)
    with httpx.Client(base_url=again.url, trust_env=False, timeout=30) as client:
        for file in files:
            answer = client.get(
                f"/dicomweb/studies/{STUDY_UID}/series/{STUDY_UID}.1/instances/{instance_uid(file)}",
                headers={"Accept": "application/dicom; transfer-syntax=*"},
            )
            assert answer.content == file
