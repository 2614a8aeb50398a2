"""Whose home a folder is: an origin's or an edge's, in a file of one word."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nearframe.errors import ConfigurationError
from nearframe.storage.durable import replace_durably

#: In place of a role while an archive is being restored: no node starts in such a home.
UNFINISHED: Final = "unfinished restore"


def role_of(home: Path) -> str:
    """Return the role that a home belongs to, empty if it belongs to none yet."""
    try:
        return (home / "role").read_text(encoding="ascii", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def set_role(home: Path, role: str) -> None:
    """Say whose home a folder is, durably."""
    replace_durably(home / "role", f"{role}\n".encode("ascii"))


def claim(home: Path, role: str) -> None:
    """Note whose home this is.

    Raises
    ------
    ConfigurationError
        If it is one of the other role: an edge would take an archive's studies for copies of its upstream's.
    """
    found = role_of(home)
    if found == UNFINISHED:
        raise ConfigurationError(f"--home {home}: a restore into it did not end; run nearframe restore again")
    if not found:
        set_role(home, role)
    elif found != role:
        raise ConfigurationError(f"--home {home} is the home of an {found}; give this {role} another one")
