"""A real nginx before several nodes, with the configuration that the project ships."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_CONFIGURATION = Path(__file__).parents[1] / "deploy" / "nginx" / "nearframe.conf"
_START_S = 20


def nginx_binary() -> str | None:
    """Return where nginx is; None if it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


@contextmanager
def balancing(binary: str, folder: Path, ports: Sequence[int]) -> Iterator[str]:
    """Run nginx before the nodes that listen on these ports; the value is its URL."""
    port = free_port()
    shipped = _CONFIGURATION.read_text(encoding="utf-8")
    servers = "".join(f"    server 127.0.0.1:{number} max_fails=0;\n" for number in ports)
    site = re.sub(r"(?m)(^    server .*\n)+", servers, shipped, count=1)
    site = site.replace("listen 127.0.0.1:8080", f"listen 127.0.0.1:{port}")
    assert site != shipped
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder / kind};\n" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"{user} worker_processes 1; daemon off; pid {folder / 'pid'}; error_log {folder / 'error.log'} warn;\n"
        f"events {{ }}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    process = subprocess.Popen([binary, "-p", str(folder), "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < until, "nginx does not listen"
            time.sleep(0.02)
