"""A node as a user starts it, with DICOM associations, for peers of other makers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
import pydicom

from bench.peers import free_port, origin

AE_TITLE = "NEARFRAME"


@dataclass(frozen=True)
class DicomNode:
    """A running node.

    Attributes
    ----------
    client
        Speaks to it by HTTP.
    """

    client: httpx.Client
    port: int

    @property
    def peer(self) -> str:
        """How ``nearframe dicom`` names it."""
        return f"{AE_TITLE}@127.0.0.1:{self.port}"

    def refused(self) -> dict[str, int]:
        """Return how many associations it refused, by reason."""
        told = self.client.get("/metrics").text
        counts = re.findall(r'^nearframe_dimse_rejected_total{reason="(.+)"} (\d+)', told, re.MULTILINE)
        return {reason: int(count) for reason, count in counts}

    def stored(self, instance: str) -> bytes:
        """Return an instance as it is held: a Part 10 file."""
        (found,) = self.client.get("/dicomweb/instances", params={"SOPInstanceUID": instance}).json()
        (url,) = found["00081190"]["Value"]
        answer = self.client.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
        assert answer.status_code == 200, answer.text
        return answer.content

    def held(self, instance: str) -> pydicom.Dataset:
        """Return an instance as it is held."""
        return pydicom.dcmread(BytesIO(self.stored(instance)))


@contextmanager
def dicom_node(home: Path, peers: Sequence[Mapping[str, object]] = (), *options: object) -> Iterator[DicomNode]:
    """Run an origin with these ``[[peers]]`` until the block ends."""
    home.mkdir(parents=True)
    settings = home / "nearframe.toml"
    settings.write_text("\n".join(_table(peer) for peer in peers))
    port = free_port()
    chosen = ["--config", settings, "--dicom", f"127.0.0.1:{port}", "--disk-reserve-bytes", "1MiB", *options]
    with (
        origin(home / "node", options=[str(option) for option in chosen]) as server,
        httpx.Client(base_url=server.url.removesuffix("/dicomweb"), trust_env=False) as client,
    ):
        yield DicomNode(client, port)


def _table(peer: Mapping[str, object]) -> str:
    # Texts, numbers and lists are written in TOML as in JSON.
    return "\n".join(["[[peers]]", *(f"{name} = {json.dumps(value)}" for name, value in peer.items())])
