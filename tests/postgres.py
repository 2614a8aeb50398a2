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


@contextmanager
def running_server(binaries: Path) -> Iterator[str]:
    """Start a server; yield the folder of its socket."""
    # A short path: the name of a socket has at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="pg"))
    try:
        account = _account()
        if account is not None:
            os.chown(home, account.pw_uid, account.pw_gid)
        data = str(home / "data")
        initialise = (*("-D", data), *("-U", _ACCOUNT), *("-A", "trust"), *("-E", "UTF8"), "--locale=C", "-N")
        subprocess.run([binaries / "initdb", *initialise], check=True, capture_output=True, cwd="/", **_as(account))
        settings = [part for setting in (*_SETTINGS, f"unix_socket_directories={home}") for part in ("-c", setting)]
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, *settings],
            stderr=subprocess.PIPE,
            cwd="/",
            preexec_fn=die_with_parent,  # a test run that is killed leaves no server behind
            **_as(account),
        )
        with server:
            assert server.stderr is not None
            try:
                _wait_until_ready(server.stderr)
                Thread(target=server.stderr.read, daemon=True).start()
                yield str(home)
            finally:
                server.send_signal(signal.SIGQUIT)  # at once: there is nothing to keep
                server.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def create_schema(socket_folder: str, name: str) -> str:
    """Create an empty schema, far cheaper than a database; return a URL that sees only it."""
    import psycopg

    with psycopg.connect(host=socket_folder, user=_ACCOUNT, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
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
