"""A real PostgreSQL server for the tests: in a folder of its own, on a socket, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ACCOUNT = "postgres"  # the server refuses to run as root
_SETTINGS = (
    "listen_addresses=''",
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
        _own(home)
        data = home / "data"
        _run(binaries / "initdb", "-D", data, "-U", _ACCOUNT, "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        options = " ".join(f"-c {setting}" for setting in (*_SETTINGS, f"unix_socket_directories='{home}'"))
        _run(binaries / "pg_ctl", "-D", data, "-l", home / "log", "-o", options, "-w", "start")
        try:
            yield str(home)
        finally:
            _run(binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def create_schema(socket_folder: str, name: str) -> str:
    """Create an empty schema, far cheaper than a database; return a URL that sees only it."""
    import psycopg

    with psycopg.connect(host=socket_folder, user=_ACCOUNT, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
    return f"postgresql://{_ACCOUNT}@/postgres?host={socket_folder}&options=-csearch_path%3D{name}"


def _own(folder: Path) -> None:
    if os.geteuid() == 0:
        account = pwd.getpwnam(_ACCOUNT)
        os.chown(folder, account.pw_uid, account.pw_gid)


def _run(*command: str | Path) -> None:
    prefix = ["runuser", "-u", _ACCOUNT, "--"] if os.geteuid() == 0 else []
    # Output goes to a file: pg_ctl's server would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [*prefix, *map(str, command)], stdout=output, stderr=output, cwd="/", check=False, timeout=60
        )
        if done.returncode:
            output.seek(0)
            raise RuntimeError(output.read().decode(errors="replace"))
