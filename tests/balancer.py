"""A real nginx before several nodes, with the configuration that the project ships."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_CONFIGURATION = Path(__file__).parents[1] / "deploy" / "nginx" / "nearframe.conf"
_PATIENCE_S = 20


def nginx_binary() -> str | None:
    """Return where nginx is; None if it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


class Balancer:
    """An nginx before the nodes that listen on some ports, which may become others while it runs."""

    def __init__(self, binary: str, folder: Path, ports: Sequence[int]) -> None:
        self._port = free_port()
        self._folder = folder
        self._configure(ports)
        command = [binary, "-p", str(folder), "-c", str(self._configuration)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def _configuration(self) -> Path:
        return self._folder / "nginx.conf"

    def wait_until_up(self) -> None:
        _wait_until(self._listens, "nginx does not listen")

    def send_to(self, ports: Sequence[int]) -> None:
        """Ask these nodes from now on, as ``nginx -s reload`` does; returns when nothing asks the others any more."""
        workers = self._workers()
        self._configure(ports)
        self.reload()
        _wait_until(lambda: not workers & self._workers(), "nginx still has workers of before")

    def reload(self) -> None:
        """Have it read its configuration again: its workers end what they are at, and others take their place."""
        self._process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _configure(self, ports: Sequence[int]) -> None:
        shipped = _CONFIGURATION.read_text(encoding="utf-8")
        servers = "".join(f"    server 127.0.0.1:{number} max_fails=0;\n" for number in ports)
        site = re.sub(r"(?m)(^    server .*\n)+", servers, shipped, count=1)
        site = site.replace("listen 127.0.0.1:8080", f"listen 127.0.0.1:{self._port}")
        assert site != shipped
        folder, kinds = self._folder, ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {folder / kind};\n" for kind in kinds)
        user = "user root;" if os.geteuid() == 0 else ""
        self._configuration.write_text(
            f"{user} worker_processes 1; daemon off; pid {folder / 'pid'}; error_log {folder / 'error.log'} warn;\n"
            f"events {{ }}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n"
        )

    def _workers(self) -> set[str]:
        number = self._process.pid
        return set(Path(f"/proc/{number}/task/{number}/children").read_text().split())

    def _listens(self) -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            return True
        return False


@contextmanager
def balancing(binary: str, folder: Path, ports: Sequence[int]) -> Iterator[Balancer]:
    """Run nginx before the nodes that listen on these ports."""
    balancer = Balancer(binary, folder, ports)
    try:
        balancer.wait_until_up()
        yield balancer
    finally:
        balancer.close()


def _wait_until(is_so: Callable[[], bool], otherwise: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < until, otherwise
        time.sleep(0.02)
