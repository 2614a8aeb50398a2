"""Taking a backup, beside the node that serves the archive.

::

    1. keep     compaction removes no pack until the end
    2. snapshot the catalogue, of one moment: what was acknowledged before is in it
    3. packs    each as far as it is durable now. Contents are durable before a version of them is
                recorded, so these hold everything that the snapshot speaks of
    4. ring     after the packs: a key is durable before the first record under it
    5. point    the list of all that; from here on the backup is there

A crash before the last step leaves blobs that the next backup finds and uses.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from nearframe import __version__
from nearframe.clock import Clock
from nearframe.errors import ConfigurationError
from nearframe.storage.catalogue import CATALOGUE_FILE
from nearframe.storage.catalogue.migrations import MOVED
from nearframe.storage.catalogue.snapshot import Snapshot, take_snapshot
from nearframe.storage.packs.files import disk_errors
from nearframe.storage.packs.keys import read_root_key
from nearframe.storage.packs.standing import StandingPack, StandingPacks
from nearframe.storage.role import role_of
from nearframe.storage.scratch import check_space
from nearframe.units import MIB
from nearframe.upkeep.backup.point import PackCopy, Page, Part, Point, PointKeys
from nearframe.upkeep.backup.points import Points
from nearframe.upkeep.backup.vault import Vault

#: Blobs of packs: large enough that a terabyte has some 60,000, small enough to be held in memory.
PART_BYTES: Final = 16 * MIB
#: Blobs of the catalogue: a day changes some of its pages, all over it.
PAGE_BYTES: Final = MIB

#: Told what is being done, how many bytes of it, of how many.
Progress: TypeAlias = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that was taken; `written_bytes` went into the vault, the rest was there."""

    point: Point
    written_bytes: int


def take_backup(home: Path, vault: Vault, clock: Clock, progress: Progress) -> Taken:
    """Keep what an archive holds now as a point; the archive may serve meanwhile.

    Raises
    ------
    ConfigurationError
        If `home` is no archive's, or `vault` holds another one's backups.
    IntegrityError
        If the catalogue is damaged, or a pack was cut off.
    StorageError
        If the disk or the vault refuses; no point is kept then.
    """
    if not (home / "packs").is_dir():
        raise ConfigurationError(f"--home {home}: no archive is there")
    if role_of(home) != "origin":
        raise ConfigurationError(
            f"--home {home} is no archive's: an edge's objects are upstream, or on their way (nearframe edge outbox)"
        )
    keys = PointKeys(root_key_of(home))
    points = Points(vault, keys)
    with StandingPacks(home) as packs:
        return _Taking(home, points, keys, points.latest(), progress).run(packs, clock)


def root_key_of(home: Path) -> bytes:
    """Return the root key of an archive.

    Raises
    ------
    ConfigurationError
        If it has none.
    """
    return read_root_key(home / "keys" / "root.key")


class _Taking:
    def __init__(self, home: Path, points: Points, keys: PointKeys, last: Point | None, progress: Progress) -> None:
        self._home = home
        self._points = points
        self._keys = keys
        self._progress = progress
        self._known_packs = {pack.number: pack for pack in last.packs} if last else {}
        self._known_pages = {page.mark: page for page in last.catalogue} if last else {}
        self._written_bytes = 0
        self._done_bytes = 0
        self._total_bytes = 0

    def run(self, packs: StandingPacks, clock: Clock) -> Taken:
        taken_at = clock.now()
        holds, catalogue = self._take_catalogue()
        standing = list(packs.packs())
        self._total_bytes = self._done_bytes + sum(pack.length for pack in standing)
        copies = tuple(self._take_pack(pack) for pack in standing)
        ring = packs.ring()
        kept = tuple(self._put(ring[at : at + PAGE_BYTES]) for at in range(0, len(ring), PAGE_BYTES))
        point = Point(taken_at, __version__, holds, catalogue, kept, copies)
        self._points.save(point)
        return Taken(point, self._written_bytes)

    def _take_catalogue(self) -> tuple[Snapshot, tuple[Page, ...]]:
        """Copy the catalogue aside, since its pages stand still in no file of its own, and take that."""
        source = self._home / CATALOGUE_FILE
        if not source.is_file():
            raise ConfigurationError(f"{source}: no catalogue is there; restore the last backup, see nearframe doctor")
        scratch = self._home / "scratch"
        scratch.mkdir(exist_ok=True, mode=0o700)
        check_space(scratch, source.stat().st_size)
        # A node empties this folder when it starts: what a killed backup leaves there goes too.
        with disk_errors(), tempfile.NamedTemporaryFile(dir=scratch, prefix="backup-") as copy:
            holds = take_snapshot(source, Path(copy.name))
            if holds.schema == MOVED:
                raise ConfigurationError(
                    "the archive was carried into a database since, which its own tools back up; this is what it was"
                )
            self._total_bytes = os.fstat(copy.fileno()).st_size
            return holds, tuple(self._take_page(page) for page in iter(partial(copy.read, PAGE_BYTES), b""))

    def _take_page(self, page: bytes) -> Page:
        mark = self._keys.mark(page)
        known = self._known_pages.get(mark)
        if known is None:
            part = self._put(self._keys.seal(page, mark))
            known = Page(Part(part.blob, len(page)), mark)
        self._advance(len(page))
        return known

    def _take_pack(self, pack: StandingPack) -> PackCopy:
        known = self._known_packs.get(pack.number)
        parts: list[Part] = []
        # Numbers are given again after the last pack has gone, and a log may have been cut: then it is another pack.
        if known is not None and known.length <= pack.length and pack.tail_at(known.length) == known.tail:
            parts += known.parts
            self._advance(known.length)
        start = sum(part.length for part in parts)
        for at in range(start, pack.length, PART_BYTES):
            data = pack.read(at, min(at + PART_BYTES, pack.length))
            parts.append(self._put(data))
            self._advance(len(data))
        return PackCopy(pack.number, tuple(parts), pack.tail_at(pack.length))

    def _put(self, data: bytes) -> Part:
        part, is_new = self._points.put(data)
        if is_new:
            self._written_bytes += len(data)
        return part

    def _advance(self, size_bytes: int) -> None:
        self._done_bytes += size_bytes
        self._progress("copying", self._done_bytes, self._total_bytes)
