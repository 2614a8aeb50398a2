"""An archive on shelves, its clock, and a place for its backups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nearframe.clock import ManualClock
from nearframe.storage.role import set_role
from nearframe.upkeep.backup.point import Point, PointKeys
from nearframe.upkeep.backup.points import Points
from nearframe.upkeep.backup.restore import Restored, restore
from nearframe.upkeep.backup.take import Taken, root_key_of, take_backup
from nearframe.upkeep.backup.vault import DirectoryVault
from tests.syncing import Shelves


def untold(_what: str, _done: int, _total: int) -> None:
    pass


@dataclass
class Kept:
    """An archive that is backed up."""

    folder: Path
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.shelves = Shelves.open(self.home)
        set_role(self.home, "origin")
        self.root_key = root_key_of(self.home)
        self.vault = DirectoryVault(self.folder / "vault", create=True)
        self.points = Points(self.vault, PointKeys(self.root_key))

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def back_up(self) -> Taken:
        self.clock.advance(60)
        return take_backup(self.home, self.vault, self.clock, untold)

    def restore(self, name: str = "restored", point: Point | None = None) -> Restored:
        return restore(self.points, point or self.points.at(None), self.root_key, self.folder / name, untold)

    def reopened(self, name: str = "restored") -> Shelves:
        return Shelves.open(self.folder / name)

    def blobs(self) -> list[Path]:
        return [path for path in (self.folder / "vault" / "blobs").glob("*/*") if path.is_file()]

    def close(self) -> None:
        self.shelves.close()
        self.vault.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    archive = Kept(tmp_path)
    yield archive
    archive.close()
