"""Bringing an archive back from a point, into an empty home.

Every blob is compared with its digest as it is written. Then the packs are read once more as a
node reads them: every content is opened, compared with the digest it is stored under, and looked
up for every version that the catalogue speaks of. The change feed begins a new epoch, so
everybody who follows it compares what they hold with what is here now.

Until all of that is done the home belongs to no role: no node starts in it, and the next restore
begins it anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from nearframe import log
from nearframe.errors import BackendFailed, ConfigurationError, IntegrityError
from nearframe.storage.catalogue import CATALOGUE_FILE, SQLCatalogue, open_catalogue
from nearframe.storage.catalogue.migrations import LATEST
from nearframe.storage.durable import sync_folder
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.packs.files import LocalFiles, disk_errors
from nearframe.storage.packs.keyring import RING_FILE
from nearframe.storage.packs.keys import write_root_key
from nearframe.storage.packs.segments import pack_name
from nearframe.storage.role import UNFINISHED, role_of, set_role
from nearframe.storage.scratch import check_space
from nearframe.storage.upkeep import ScrubReport
from nearframe.upkeep.backup.point import Part, Point, PointKeys
from nearframe.upkeep.backup.points import Points
from nearframe.upkeep.backup.since import Since, catch_up
from nearframe.upkeep.backup.take import Progress
from nearframe.upkeep.crosscheck import CrossCheck, cross_check

#: What a home may hold and be empty: every ext4 file system has it at its root.
_NOTHING: Final = {"lost+found"}
#: The index of the packs is made anew.
_INDEX_SHARE: Final = 0.02

_log = log.logger(__name__)


def _unheard(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Restored:
    """An archive that was brought back, what was proved of it, and what it did since; None if no later backup tells."""

    point: Point
    scrubbed: ScrubReport
    checked: CrossCheck
    since: Since | None

    @property
    def is_whole(self) -> bool:
        """Return whether everything that the point speaks of is there and right."""
        return not self.checked.incomplete


def prove_point(points: Points, point: Point, progress: Progress) -> int:
    """Read every blob of a point; return how many are missing, damaged, or cannot be read."""
    damaged = done = 0
    for part in dict.fromkeys(point.parts):
        try:
            points.blob(part)
        except (IntegrityError, BackendFailed):
            damaged += 1
        done += part.length
        progress("proving", done, point.length)
    return damaged


def restore(
    points: Points, point: Point, root_key: bytes, home: Path, progress: Progress, *, hides_purged: bool = False
) -> Restored:
    """Bring a point back into an empty home.

    A damaged blob of a pack costs the contents that stand in it: the report says how many.

    Parameters
    ----------
    hides_purged
        See `since.catch_up`.

    Raises
    ------
    ConfigurationError
        If `home` is not empty, or a newer release made the point's catalogue.
    IntegrityError
        If a blob of the catalogue or of the key ring is missing or damaged; the home stays unfinished.
    NoSpace
        If the disk has no room for it.
    """
    _begin(home, point)
    with disk_errors():
        _Restoring(points, point, root_key, home, progress).write()
    proved = _prove(home, progress)
    with closing(open_catalogue(home / CATALOGUE_FILE, may_create=False)) as catalogue:
        since = _catch_up(catalogue, points, point, root_key, home, hides_purged=hides_purged)
    set_role(home, "origin")
    return Restored(point, *proved, since)


def restore_catalogue(
    points: Points, point: Point, root_key: bytes, home: Path, progress: Progress, *, hides_purged: bool = False
) -> Restored:
    """Bring back the catalogue alone, beside packs that are whole.

    Of what came after the point the packs hold contents that no version refers to: the same objects
    sent again find them.

    Raises
    ------
    ConfigurationError
        If there are no packs, or a catalogue, or somebody works there.
    IntegrityError
        If a blob of the catalogue is missing or damaged.
    """
    place = home / CATALOGUE_FILE
    if not (home / "packs").is_dir() or place.exists():
        there = "a catalogue is there: put it aside" if place.exists() else "no packs are there: restore everything"
        raise ConfigurationError(f"--home {home}: {there}")
    check_space(home, sum(page.part.length for page in point.catalogue))
    with PackStore(home, PackSettings(reserve_bytes=0)) as packs, disk_errors():
        _remove_catalogue(home)  # its log, or what a restore that did not end left
        new = home / f"{CATALOGUE_FILE}.new"
        _Restoring(points, point, root_key, home, progress).write_catalogue(new.name)
        with closing(open_catalogue(new, may_create=False)) as catalogue:
            catalogue.start_epoch()
            checked = cross_check(catalogue, packs)
            since = _catch_up(catalogue, points, point, root_key, home, hides_purged=hides_purged)
        new.replace(place)
        sync_folder(home)
    return Restored(point, ScrubReport(), checked, since)


def _catch_up(
    restored: SQLCatalogue, points: Points, point: Point, root_key: bytes, home: Path, *, hides_purged: bool
) -> Since | None:
    last = points.latest()
    if last is None or last.taken_at <= point.taken_at:
        return None
    with TemporaryDirectory(dir=home, prefix="last-") as folder:
        _Restoring(points, last, root_key, Path(folder), _unheard).write_catalogue(CATALOGUE_FILE)
        with closing(open_catalogue(Path(folder) / CATALOGUE_FILE, may_create=False)) as catalogue:
            return catch_up(restored, catalogue, point.taken_at, last.taken_at, hides_purged=hides_purged)


def _begin(home: Path, point: Point) -> None:
    if point.holds.schema > LATEST:
        raise ConfigurationError(f"release {point.release} made this backup and this one is older: restore with that")
    with disk_errors():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if role_of(home) == UNFINISHED:
            for left in ("packs", "keys"):
                shutil.rmtree(home / left, ignore_errors=True)
            _remove_catalogue(home)
        elif {path.name for path in home.iterdir()} - _NOTHING:
            raise ConfigurationError(f"--home {home} is not empty: name a folder that is, or does not exist yet")
        check_space(home, int(point.length * (1 + _INDEX_SHARE)))
        set_role(home, UNFINISHED)


def _remove_catalogue(home: Path) -> None:
    for name in (CATALOGUE_FILE, f"{CATALOGUE_FILE}.new"):
        for suffix in ("-wal", "-shm", ""):
            (home / f"{name}{suffix}").unlink(missing_ok=True)


class _Restoring:
    def __init__(self, points: Points, point: Point, root_key: bytes, home: Path, progress: Progress) -> None:
        self._points = points
        self._point = point
        self._root_key = root_key
        self._home = home
        self._progress = progress
        self._done_bytes = 0

    def write(self) -> None:
        keys = LocalFiles(self._home / "keys")
        write_root_key(self._home / "keys" / "root.key", self._root_key)
        self._write(keys, RING_FILE, map(self._points.blob, self._point.ring))
        packs = LocalFiles(self._home / "packs")
        for pack in self._point.packs:
            self._write(packs, pack_name(pack.number), map(self._pack_blob, pack.parts))
        self.write_catalogue(CATALOGUE_FILE)

    def write_catalogue(self, name: str) -> None:
        self._write(LocalFiles(self._home), name, self._pages())

    def _pack_blob(self, part: Part) -> bytes:
        try:
            return self._points.blob(part)
        except (IntegrityError, BackendFailed) as error:
            _log.error("backup_blob_damaged", size_bytes=part.length, error=error)
            return self._points.salvage(part)

    def _pages(self) -> Iterator[bytes]:
        keys = PointKeys(self._root_key)
        for page in self._point.catalogue:
            yield keys.open(self._points.blob(page.part), page.part.length, page.mark)

    def _write(self, folder: LocalFiles, name: str, blocks: Iterable[bytes]) -> None:
        file = folder.create(name)
        at = 0
        for block in blocks:
            file.write_at(at, [block])
            at += len(block)
            self._done_bytes += len(block)
            self._progress("copying", self._done_bytes, self._point.length)
        file.sync()
        folder.sync()


def _prove(home: Path, progress: Progress) -> tuple[ScrubReport, CrossCheck]:
    """Begin the new epoch, and prove what a node will find."""
    with (
        PackStore(home, PackSettings(reserve_bytes=0)) as packs,
        closing(open_catalogue(home / CATALOGUE_FILE, may_create=False)) as catalogue,
    ):
        catalogue.start_epoch()
        stored_bytes = packs.stats().stored_bytes
        scrubbed = packs.scrub(lambda report: progress("proving", report.read_bytes, stored_bytes))
        return scrubbed, cross_check(catalogue, packs)
