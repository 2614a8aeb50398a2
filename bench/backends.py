"""CPU of a PostgreSQL server's processes that work for clients."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.harness import process_tree

#: Of the server itself, as its processes call themselves: their work is not one request's.
_OWN: Final = ("checkpointer", "background writer", "walwriter", "autovacuum", "logical replication", "archiver")


class Backends:
    """The processes behind the connections to a server.

    Parameters
    ----------
    server_pid
        Of the server; None where the database is part of this process, which costs nothing beside it.
    """

    def __init__(self, server_pid: int | None) -> None:
        self._server_pid = server_pid
        self._is_own: dict[int, bool] = {}

    def cpu_seconds(self) -> float:
        """Return the CPU that those took which are there now, to the nanosecond."""
        if self._server_pid is None:
            return 0.0
        members = [pid for pid in process_tree(self._server_pid) if pid != self._server_pid]
        return sum(_cpu_ns(pid) for pid in members if not self._of_server(pid)) / 1e9

    def _of_server(self, pid: int) -> bool:
        if pid not in self._is_own:
            try:
                title = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                return True
            self._is_own[pid] = any(name in title for name in _OWN)
        return self._is_own[pid]


def _cpu_ns(pid: int) -> int:
    # The first field is time on a CPU; stat counts in hundredths of a second.
    # https://www.kernel.org/doc/html/latest/scheduler/sched-stats.html
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    except OSError:
        return 0
