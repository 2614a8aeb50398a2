"""Whole origins over a bucket: what one of them acknowledged, the others have, whatever became of it."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from nearframe.cli import main
from nearframe.storage.s3 import S3Location
from tests.integration.origin.test_ingest import edited, packaged, uid_of
from tests.integration.origin.test_process import Origin, numbered, running
from tests.integration.s3.unreliable import Fault, unreliable
from tests.multiparts import store_body
from tests.postgres import create_schema
from tests.radosgw import REGION, Radosgw

pytestmark = [pytest.mark.radosgw, pytest.mark.postgresql]

CT = packaged("CT_small.dcm")
ROOT_KEY = "11" * 32
FILES = 60


def role(location: S3Location, port: int, database: str) -> tuple[str, ...]:
    """Return the command of an origin over a bucket."""
    server = ("--s3-endpoint", f"http://127.0.0.1:{port}", "--s3-region", REGION, "--s3-path-style")
    return ("origin", "--s3-url", str(location), *server, "--database-url", database, "--s3-timeout-s", "5")


def home_of(folder: Path) -> Path:
    """Return a home that has been given the root key."""
    (folder / "keys").mkdir(parents=True)
    (folder / "keys" / "root.key").write_text(ROOT_KEY)
    return folder


def test_what_was_acknowledged_outlives_the_origin(
    root: Path, tmp_path: Path, radosgw: Radosgw, postgres_server: str
) -> None:
    """One of two origins is killed while four senders store; the other has all that was acknowledged."""
    database = create_schema(postgres_server, "outlives")
    command = role(radosgw.new_bucket(), radosgw.port, database)
    acknowledged: list[bytes] = []
    half = threading.Event()
    with (
        running(root, home_of(tmp_path / "one"), command) as one,
        running(root, home_of(tmp_path / "two"), command) as two,
    ):

        def send(first: int) -> None:
            for number in range(first, FILES, 4):
                data = numbered(number)
                try:
                    answer = one.store(data)
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    acknowledged.append(data)
                if len(acknowledged) >= FILES // 3:
                    half.set()

        senders = [threading.Thread(target=send, args=(first,)) for first in range(4)]
        for sender in senders:
            sender.start()
        assert half.wait(60)
        one.process.kill()
        for sender in senders:
            sender.join()
        for data in acknowledged:
            assert two.versions(uid_of(data)) == [data]
        assert two.store(acknowledged[0]).status_code == 200
        assert two.versions(uid_of(acknowledged[0])) == [acknowledged[0]]


def test_a_bucket_that_is_away_is_an_answer_to_try_again(
    root: Path, tmp_path: Path, radosgw: Radosgw, postgres_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    database = create_schema(postgres_server, "away")
    with ExitStack() as stack:
        front = stack.enter_context(unreliable(radosgw.port))
        command = role(radosgw.new_bucket(), front.server_port, database)
        origin = stack.enter_context(running(root, tmp_path / "home", command))
        assert origin.store(CT).status_code == 200
        front.fail("PUT", *[Fault.UNHEARD] * 8)
        other = edited(CT, SOPInstanceUID="1.2.3.4")
        answer = origin.store(other)
        assert answer.status_code == 503
        front.fail("HEAD", *[Fault.UNHEARD] * 100)
        found = origin.client.get("/healthz")
        assert (found.status_code, found.json()["checks"]["bucket"]["state"]) == (200, "degraded")
        front.fail("HEAD")
        deadline = time.monotonic() + 60
        while origin.client.get("/healthz").json()["checks"]["bucket"] != {"state": "ok"}:
            assert time.monotonic() < deadline
            time.sleep(0.1)  # the question before has to end
        main(["doctor", "--home", str(tmp_path / "home"), *command[1:], "--json"])
        assert "legal holds are refused" in json.loads(capsys.readouterr().out)["checks"]["bucket"]["reason"]
        assert origin.store(other).status_code == 200
        assert origin.versions("1.2.3.4") == [other]
        assert uploads(origin) > 2


@pytest.mark.drill
def test_a_series_takes_few_requests(root: Path, tmp_path: Path, radosgw: Radosgw, postgres_server: str) -> None:
    """What is sent as one request shares its uploads; what is sent again takes none."""
    command = role(radosgw.new_bucket(), radosgw.port, create_schema(postgres_server, "requests"))
    command += ("--no-renditions", "--no-perceptual")  # which are stored when nobody waits
    content_type, body = store_body([numbered(number) for number in range(100)])
    with running(root, tmp_path / "home", command) as origin:
        for most in (40, 0):
            before = uploads(origin)
            answer = origin.client.post("/dicomweb/studies", content=body, headers={"content-type": content_type})
            assert answer.status_code == 200
            assert uploads(origin) - before <= most


def uploads(origin: Origin) -> int:
    """Return how many objects an origin has uploaded."""
    found = re.search(
        r'nearframe_s3_requests_total\{operation="put_object"\} (\d+)', origin.client.get("/metrics").text
    )
    return int(found[1]) if found else 0
