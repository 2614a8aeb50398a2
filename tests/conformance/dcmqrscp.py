"""DCMTK's archive: C-FIND, C-MOVE and C-GET over a folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import free_port
from tests.conformance.dcmtk import COMMANDS, until_listening

TITLE = "DCMQRSCP"


@contextmanager
def dcmqrscp(
    folder: Path, *options: str, peers: dict[str, int] | None = None, port: int | None = None
) -> Iterator[int]:
    """Run it over a folder of its own, knowing these peers by title and port; its port."""
    (folder / "db").mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    hosts = "\n".join(f"peer{n} = ({title}, 127.0.0.1, {at})" for n, (title, at) in enumerate((peers or {}).items()))
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{hosts}\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{TITLE} {folder / 'db'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    command = [COMMANDS / "dcmqrscp", "-c", folder / "dcmqrscp.cfg", *options, port]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_listening(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()
