"""A store on a disk that can fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nearframe.storage.packs import PackStore
from nearframe.storage.packs.faulty import FaultyDisk
from nearframe.storage.packs.keyring import SlotKeyRing
from tests.packs import SMALL, Opener


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def open_store(tmp_path: Path, disk: FaultyDisk) -> Iterator[Opener]:
    """Opens the store on `disk`; what is still open at the end is let go."""
    opened: list[PackStore] = []

    def open_() -> PackStore:
        keys = SlotKeyRing(disk.directory("keys"), bytes(32))
        opened.append(PackStore(tmp_path, SMALL, files=disk.directory("packs"), keys=keys))
        return opened[-1]

    yield open_
    for store in opened:
        store.abandon()


@pytest.fixture
def store(open_store: Opener) -> PackStore:
    return open_store()
