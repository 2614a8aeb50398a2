from __future__ import annotations

import json
import os
import subprocess
import sys
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
from tests.syncing import STUDY_UID, ct_series, edited, instance_uid, rename


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
    start: Callable[..., Running], root: Path, tmp_path: Path, postgres_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told to stop the node once it has caught up, with objects stored and read all the while; nothing is lost."""
    url = create_schema(postgres_server, "converted")
    files = ct_series(24)
    node = start("origin", tmp_path)
    client = httpx.Client(base_url=node.url, trust_env=False, timeout=30)
    store(client, files[:12])
    command = [sys.executable, "-m", "nearframe", "migrate", "--home", str(tmp_path), "--to", url, "--json"]
    with converting_by(command, root) as converting:
        assert converting.stderr is not None
        for file in files[12:]:
            store(client, [file])
            assert client.get(f"/dicomweb/studies/{STUDY_UID}/metadata").status_code == 200
        assert "stop the node now" in converting.stderr.readline()
        store(client, [edited(files[0], rename("Late^Change"))])
        head = client.get("/api/status").json()["feed"]["head"]
        client.close()
        node.process.terminate()
        node.process.wait()
        out, err = converting.communicate(timeout=60)
        assert converting.returncode == 0, err
    done = json.loads(out)
    assert done["rows"] > len(files)
    assert main(["origin", "--home", str(tmp_path), "--insecure", "--http", "127.0.0.1:0"]) == 2  # not from the old one
    assert "correct database_url" in capsys.readouterr().err
    again = start("origin", tmp_path, "--database-url", url)
    with httpx.Client(base_url=again.url, trust_env=False, timeout=30) as client:
        assert client.get("/api/status").json()["feed"]["head"] == head  # who follows goes on
        shown = client.get(f"/dicomweb/studies/{STUDY_UID}/metadata").json()
        assert len(shown) == len(files)
        assert "Late^Change" in {row["00100010"]["Value"][0]["Alphabetic"] for row in shown}


def converting_by(command: list[str], root: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def store(client: httpx.Client, files: list[bytes]) -> None:
    content_type, body = store_body(files)
    answer = client.post("/dicomweb/studies", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 200, answer.text


@pytest.mark.postgresql
def test_contents_go_to_a_bucket_with_it(
    start: Callable[..., Running], root: Path, tmp_path: Path, postgres_server: str, radosgw: Radosgw
) -> None:
    url, bucket, files = create_schema(postgres_server, "contents"), radosgw.new_bucket(), ct_series(8, rows=64)
    node = start("origin", tmp_path / "old")
    with httpx.Client(base_url=node.url, trust_env=False, timeout=30) as client:
        store(client, files)
    at_radosgw = ("--s3-endpoint", radosgw.options.endpoint, "--s3-region", REGION, "--s3-path-style")
    where = ("--to", url, "--contents", str(bucket), "--url", node.url, "--json")
    command = [sys.executable, "-m", "nearframe", "migrate", "--home", str(node.home), *where, *at_radosgw]
    with converting_by(command, root) as converting:
        assert converting.stderr is not None
        assert "stop the node now" in converting.stderr.readline()
        node.process.terminate()
        node.process.wait()
        out, err = converting.communicate(timeout=60)
        assert converting.returncode == 0, err
    assert json.loads(out)["contents"] == 2 * len(files)  # a header and a frame each
    new = tmp_path / "new"  # another machine: nothing but the key
    write_root_key(new / "keys" / "root.key", read_root_key(node.home / "keys" / "root.key"))
    again = start("origin", new, "--database-url", url, "--s3-url", str(bucket), *at_radosgw)
    with httpx.Client(base_url=again.url, trust_env=False, timeout=30) as client:
        for file in files:
            answer = client.get(
                f"/dicomweb/studies/{STUDY_UID}/series/{STUDY_UID}.1/instances/{instance_uid(file)}",
                headers={"Accept": "application/dicom; transfer-syntax=*"},
            )
            assert answer.content == file
