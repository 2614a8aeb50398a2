"""What a client's question costs on the wire: ``python -m bench.sync [--slices 1000] [--json]``.

A relay between a client and an origin counts every byte of the connection, both ways:
request line, headers, framing and all, but not TCP's own. Measured are a first sync, a
second one that finds nothing changed, and one after the patient was renamed in all slices.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from bench import corpus
from nearframe.app import open_origin
from nearframe.client import Client
from nearframe.config import Settings
from nearframe.listener.testing import running


@dataclass(frozen=True, slots=True)
class Cost:
    """What one sync took.

    Attributes
    ----------
    sent_bytes, received_bytes
        On the socket, as the client sees it.
    """

    what: str
    requests: int
    sent_bytes: int
    received_bytes: int
    seconds: float


class Relay:
    """Passes connections on to a port, and counts."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sent = 0
        self.received = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", self._port)
        with suppress(asyncio.CancelledError, ConnectionError):  # one that is kept to the end
            await asyncio.gather(self._pass(reader, here, "sent"), self._pass(there, writer, "received"))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, counter: str) -> None:
        try:
            while chunk := await source.read(65536):
                setattr(self, counter, getattr(self, counter) + len(chunk))
                sink.write(chunk)
                await sink.drain()
        finally:
            sink.close()


@asynccontextmanager
async def relayed(url: str) -> AsyncIterator[tuple[str, Relay]]:
    """Run a relay before a node; the value is its URL."""
    relay = Relay(httpx.URL(url).port or 80)
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", relay
    finally:
        server.close()


async def measure(slices: int, rows: int) -> list[Cost]:
    """Return what the three syncs cost."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = corpus.ct_series(folder / "files", slices, rows, "1")
        corpus.renamed(series.files, folder / "renamed", "Correct")
        settings = Settings(
            home=folder / "origin", insecure=True, renditions=False, perceptual=False, disk_reserve_bytes=0
        )
        async with (
            open_origin(settings) as (app, _),
            running(app) as url,
            relayed(url) as (near, relay),
            httpx.AsyncClient(base_url=url, timeout=300, trust_env=False) as node,
        ):
            await _send(node, folder / "files")
            costs = [await _sync(near, relay, folder, series.study, what) for what in ("first", "nothing changed")]
            await _send(node, folder / "renamed")
            await node.get(f"/api/studies/{series.study}/manifest")
            costs.append(await _sync(near, relay, folder, series.study, "patient renamed"))
    return costs


async def _send(node: httpx.AsyncClient, folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        headers = {"Content-Type": "application/dicom"}
        (await node.post("/dicomweb/studies", content=path.read_bytes(), headers=headers)).raise_for_status()


async def _sync(url: str, relay: Relay, folder: Path, study: str, what: str) -> Cost:
    sent, received, began = relay.sent, relay.received, time.perf_counter()

    def sync() -> int:
        with Client(folder / "client", [url]) as client:
            client.sync(study)
            return client.report.requests

    requests = await asyncio.to_thread(sync)
    return Cost(what, requests, relay.sent - sent, relay.received - received, time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    costs = asyncio.run(measure(options.slices, options.rows))
    if options.json:
        print(json.dumps([asdict(cost) for cost in costs], indent=2))
        return
    print(f"{options.slices} slices of {options.rows} x {options.rows}")
    for cost in costs:
        print(
            f"{cost.what:16} {cost.requests} request(s)  {cost.sent_bytes:6} B sent  "
            f"{cost.received_bytes:10} B received  {cost.seconds:6.2f} s"
        )


if __name__ == "__main__":
    main()
