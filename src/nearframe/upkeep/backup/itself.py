"""A process named so that another one on the same machine can tell whether it still runs (Linux: proc(5))."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_START_FIELD: Final = 22 - 3  # of /proc/PID/stat, counted from behind the name


def own_name() -> str:
    """Return the name of this process; empty where there is no telling."""
    try:
        return f"{_place()}:{os.getpid()}:{_started(os.getpid())}"
    except (OSError, IndexError):
        return ""


def has_ended(name: str) -> bool:
    """Return whether a process ran here, and is known to be gone; False of one on another machine."""
    place, _, process = name.rpartition(":")[0].rpartition(":")
    try:
        if not name or place != _place():
            return False
        return _started(int(process)) != name.rpartition(":")[2]
    except (FileNotFoundError, ProcessLookupError):
        return True
    except (OSError, ValueError, IndexError):
        return False


def _place() -> str:
    """Return this boot of this machine, and what numbers its processes: containers count for themselves."""
    boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text(encoding="ascii").strip()
    return f"{boot}:{(_PROC / 'self' / 'ns' / 'pid').stat().st_ino}"


def _started(process: int) -> str:
    # Numbers are given again; with the time of the start they name one process.
    stat = (_PROC / str(process) / "stat").read_text(encoding="utf-8", errors="replace")
    return stat.rpartition(") ")[2].split()[_START_FIELD]
