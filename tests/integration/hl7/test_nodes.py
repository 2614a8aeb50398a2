"""Messages to whole nodes: what goes to an edge, and what a kill between an effect and its acknowledgement leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.hl7messages import adt, mrg, pid
from tests.integration.edge.nodes import edge_node, until_followed, until_shows
from tests.integration.hl7.conftest import connected, origin
from tests.multiparts import store_body
from tests.syncing import STUDY_UID, ct_series

MERGE = adt("A40", pid("PID-2", "Roe^Richard"), mrg("PID-1"))


async def test_messages_move_no_frame_to_an_edge(tmp_path: Path) -> None:
    async with origin(tmp_path / "origin") as (port, archive), edge_node(tmp_path / "edge", archive.url) as edge:
        await archive.store(ct_series(20))
        await until_shows(edge, STUDY_UID, 20, "Doe^Jane")
        moved, moved_bytes = archive.sent(), archive.sent_bytes()
        async with connected(port) as sender:
            answer = await sender.send(adt("A08", pid("PID-1", "Doe^Janet")))
            assert answer["MSA"][1:] == ["AA", "MSG-1", "20 instances corrected"]
            await until_shows(edge, STUDY_UID, 20, "Doe^Janet")
            assert archive.sent() - moved == Counter(delta=1)
            assert (archive.sent_bytes() - moved_bytes).total() < 500
            await until_followed(edge, archive)
            moved, moved_bytes = archive.sent(), archive.sent_bytes()
            answer = await sender.send(MERGE)
            assert answer["MSA"][1:] == ["AA", "MSG-1", "20 instances filed under the identifier that stays"]
            await until_shows(edge, STUDY_UID, 20, "Roe^Richard")
            await until_followed(edge, archive)
        assert archive.sent() - moved == Counter(delta=1)
        assert (archive.sent_bytes() - moved_bytes).total() < 600


async def test_a_stray_is_listed_until_it_is_merged(tmp_path: Path) -> None:
    async with origin(tmp_path / "origin") as (port, archive), connected(port) as sender:
        assert (await sender.send(MERGE))["MSA"][1] == "AA"
        assert (await archive.client.get("/api/conflicts/patients")).json() == {"studies": []}
        await archive.store(ct_series(2))
        (stray,) = (await archive.client.get("/api/conflicts/patients")).json()["studies"]
        assert (stray["study"], stray["instances"]) == (STUDY_UID, 2)
        assert (stray["names"], stray["belongs_to"]) == ({"id": "PID-1", "issuer": ""}, {"id": "PID-2", "issuer": ""})
        into = {"id": "PID-2", "attributes": {}}
        asked = {"action": "merge", "reason": "late", "from": {"id": "PID-1"}, "into": into}
        assert (await archive.client.post("/api/corrections", json=asked)).status_code == 200
        assert (await archive.client.get("/api/conflicts/patients")).json() == {"studies": []}


#: A node that is killed once a message is done and remembered, before that is said.
_KILLED = """
import os, signal, sys
from nearframe.hl7 import receiver

def kill(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

receiver.acknowledgements = kill
from nearframe.cli import main
sys.exit(main())
"""


class Started(NamedTuple):
    process: subprocess.Popen[str]
    url: str
    port: int


def start(root: Path, home: Path, *python: str) -> Started:
    options = ["--home", str(home), "--insecure", "--http", "127.0.0.1:0", "--hl7", "127.0.0.1:0"]
    process = subprocess.Popen(
        [sys.executable, *python, "origin", *options, "--disk-reserve-bytes", "1MiB", "--no-renditions"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"answers at (\S+)/ .* HL7 at \S+:(\d+)", line)
    assert found, f"it did not start: {line!r}"
    return Started(process, found[1], int(found[2]))


def ended(node: Started) -> int:
    """Return the code that a node ends with."""
    code = node.process.wait(20)
    assert node.process.stdout is not None
    node.process.stdout.close()
    return code


async def test_a_kill_between_effect_and_acknowledgement_does_nothing_twice(root: Path, tmp_path: Path) -> None:
    node = start(root, tmp_path / "home", "-c", _KILLED)
    content_type, body = store_body(ct_series(2))
    stored = httpx.post(f"{node.url}/dicomweb/studies", content=body, headers={"Content-Type": content_type})
    assert stored.status_code == 200
    async with connected(node.port) as sender:
        with pytest.raises((EOFError, ConnectionError)):
            await sender.send(MERGE)
    assert ended(node) == -signal.SIGKILL
    node = start(root, tmp_path / "home", "-m", "nearframe")
    async with connected(node.port) as sender:
        answer = await sender.send(MERGE)
    assert answer["MSA"][1:] == ["AA", "MSG-1", "2 instances filed under the identifier that stays"]
    made = httpx.get(f"{node.url}/api/corrections").json()["corrections"]
    assert [(one["action"], one["instances"]) for one in made] == [("merge", 2)]
    node.process.send_signal(signal.SIGTERM)
    assert ended(node) == 0
