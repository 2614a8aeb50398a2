"""A real PostgreSQL server for the tests: in a folder of its own, on a socket, gone afterwards."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, Any

_ACCOUNT = "postgres"  # the server refuses to run as root
_PR_SET_PDEATHSIG = 1
_SETTINGS = (
    "listen_addresses=",
    "fsync=off",  # the tests prove logic; power cuts are tested on SQLite's files and documented for PostgreSQL
    "synchronous_commit=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_connections=60",
)


def server_binaries() -> Path | None:
    """Return the folder with ``initdb`` and ``postgres``, newest release first, or None."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    folders = [*debian, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


class Server:
    """A server that can be crashed and started again.

    Parameters
    ----------
    binaries
        See `server_binaries`.
    settings
        Instead of what the tests of logic run with.
    data
        Where its data are, and stay; a folder of its own, and gone with it, if none is given.
    """

    def __init__(self, binaries: Path, *settings: str, data: Path | None = None) -> None:
        # A short path: the name of a socket has at most 107 bytes.
        self._home = Path(tempfile.mkdtemp(prefix="pg"))
        self._account = _account()
        data = data or self._home / "data"
        data.mkdir(parents=True, exist_ok=True)
        if self._account is not None:
            for folder in (self._home, data):
                os.chown(folder, self._account.pw_uid, self._account.pw_gid)
        if not (data / "PG_VERSION").exists():
            self._initialise(binaries, data)
        chosen = (*_SETTINGS, *settings, f"unix_socket_directories={self._home}")
        options = [part for setting in chosen for part in ("-c", setting)]
        self._command = [str(binaries / "postgres"), "-D", str(data), *options]
        self._process: subprocess.Popen[Any] | None = None

    def _initialise(self, binaries: Path, data: Path) -> None:
        options = (*("-D", str(data)), *("-U", _ACCOUNT), *("-A", "trust"), *("-E", "UTF8"), "--locale=C", "-N")
        command = [str(binaries / "initdb"), *options]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **_as(self._account))

    @property
    def socket_folder(self) -> str:
        return str(self._home)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; returns once it is ready."""
        process: subprocess.Popen[Any] = subprocess.Popen(
            self._command,
            stderr=subprocess.PIPE,
            cwd="/",
            preexec_fn=die_with_parent,  # a test run that is killed leaves no server behind
            **_as(self._account),
        )
        assert process.stderr is not None
        _wait_until_ready(process.stderr)
        self._log = Thread(target=process.stderr.read, daemon=True)
        self._log.start()
        self._process = process

    def crash(self) -> None:
        """End it without a shutdown: what it had not written to its log is lost."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it in good order: connections are closed, everything is written."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            with self._process as process:
                process.send_signal(how)
                process.wait()
                self._log.join()
            self._process = None

    def remove(self) -> None:
        self.crash()
        shutil.rmtree(self._home, ignore_errors=True)


@contextmanager
def running_server(binaries: Path) -> Iterator[str]:
    """Start a server; yield the folder of its socket."""
    server = Server(binaries)
    try:
        server.start()
        yield server.socket_folder
    finally:
        server.remove()


def create_schema(socket_folder: str, name: str) -> str:
    """Create a schema, far cheaper than a database, unless it is there; return a URL that sees only it."""
    import psycopg

    with psycopg.connect(host=socket_folder, user=_ACCOUNT, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{name}"')
    return f"postgresql://{_ACCOUNT}@/postgres?host={socket_folder}&options=-csearch_path%3D{name}"


def _account() -> pwd.struct_passwd | None:
    """Return the account to run as, None for our own."""
    return pwd.getpwnam(_ACCOUNT) if os.geteuid() == 0 else None


def _as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def die_with_parent() -> None:
    """Be killed when the test run is: for `preexec_fn`."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _wait_until_ready(log: IO[bytes]) -> None:
    lines = []
    for line in log:
        lines.append(line)
        if b"ready to accept connections" in line:
            return
    raise RuntimeError(b"".join(lines).decode(errors="replace"))
