"""The home as a folder: there, ours, with room, and of this time."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from nearframe.query.health import WELL, Finding, State, high_mark, look_for_room
from nearframe.storage.catalogue import CATALOGUE_FILE
from nearframe.storage.role import UNFINISHED
from nearframe.units import counted
from nearframe.upkeep.doctor.patient import Patient, unseen

_LITTLE_INODES: Final = 1000
#: Files of the future: more than clocks of two machines differ.
_CLOCK_ERROR: Final = timedelta(minutes=5)
#: 64 packs are kept open, and each connection takes a file.
_OPEN_FILES: Final = 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def look_at_home(patient: Patient) -> Finding:
    """Look whether the home is one."""
    home = patient.home
    if not home.exists():
        return Finding(State.DEGRADED, f"{home} does not exist yet: a node makes it, or --home names another one")
    if not home.is_dir():
        return Finding(State.FAILING, f"{home} is not a folder; --home names one")
    if patient.role == UNFINISHED:
        return Finding(State.FAILING, "a restore into it did not end: run nearframe restore again")
    aside = sorted(path.name for path in home.glob("*.damaged-*"))
    if aside:
        return Finding(
            State.DEGRADED,
            f"damaged files were set aside ({', '.join(aside)}): look at the disk (smartctl), then remove them",
        )
    return WELL


def look_at_permissions(patient: Patient) -> Finding:
    """Look whether the node may do what it has to, and others may not."""
    if not patient.home.is_dir():
        return unseen("there is no home")
    owner = patient.home.stat().st_uid
    foreign = [path for path, found in _own_files(patient.home) if found.st_uid != owner]
    if foreign:
        return Finding(
            State.FAILING,
            f"{counted(len(foreign), 'file')} of another user than the home's, {foreign[0]} first: chown -R {owner} "
            f"{patient.home}",
        )
    if not os.access(patient.home, os.R_OK | os.W_OK | os.X_OK):
        return Finding(State.FAILING, f"{patient.home} cannot be written by this user")
    key = patient.home / "keys" / "root.key"
    if key.exists() and key.stat().st_mode & _OTHERS:
        return Finding(State.DEGRADED, f"others may read the root key: chmod 600 {key}")
    catalogue = patient.home / CATALOGUE_FILE
    if patient.home.stat().st_mode & _OTHERS and catalogue.exists() and catalogue.stat().st_mode & stat.S_IROTH:
        return Finding(
            State.DEGRADED, f"others may read the catalogue, which has names in it: chmod 700 {patient.home}"
        )
    return WELL


def look_at_disk(patient: Patient) -> Finding:
    """Look whether there is room, and will be tomorrow."""
    if not patient.home.is_dir():
        return unseen("there is no home")
    settings = patient.settings
    found = look_for_room(patient.home, settings.kept_free_bytes, high_mark(settings))
    if found is not WELL:
        return found
    state = os.statvfs(patient.home)
    if state.f_files and state.f_favail < _LITTLE_INODES:
        return Finding(State.DEGRADED, f"{counted(state.f_favail, 'inode')} left: remove small files from this disk")
    return WELL


def look_at_clock(patient: Patient) -> Finding:
    """Look whether the clock went back: what is newest on the disk was written in the past."""
    newest = max((found.st_mtime for _, found in _own_files(patient.home)), default=0.0)
    ahead = datetime.fromtimestamp(newest, UTC) - patient.now
    if ahead > _CLOCK_ERROR:
        return Finding(
            State.FAILING,
            f"the newest file was written {ahead.total_seconds() / 60:.0f} minutes from now: set the clock "
            "(timedatectl) before the node takes anything in",
        )
    return WELL


def look_at_limits(patient: Patient) -> Finding:
    """Look whether the system lets the node open what it needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _OPEN_FILES:
        return Finding(
            State.DEGRADED,
            f"a process may open {soft} files ({hard} at most), {_OPEN_FILES} are wanted: ulimit -n, or LimitNOFILE=",
        )
    return WELL


def _own_files(home: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield what a node keeps, but for the packs' index, which LMDB writes as it likes."""
    for pattern in ("role", f"{CATALOGUE_FILE}*", "packs", "packs/*.seg", "keys", "keys/*"):
        for path in home.glob(pattern):
            with suppress(FileNotFoundError):  # a node that runs removes packs and logs
                yield path, path.stat()
