"""Contents carried from one store into another: all that versions refer to, each proved, none twice."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from nearframe.errors import BackendFailed
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.objects import ObjectStore, open_index
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import Held, NewHold
from nearframe.storage.upkeep import LostContent
from nearframe.upkeep.carrying import Carrier, StoreCopies
from nearframe.upkeep.crosscheck import cross_check
from nearframe.upkeep.repair import Copy
from tests.buckets import MemoryBucket
from tests.syncing import RECEIVED_AT, Shelves, ct_series, shelves


class Counted(StoreCopies):
    """The copies of a store: how often it was asked for some, and with the first of them spoiled if it is to be."""

    def __init__(self, store: PackStore, spoil: int = 0) -> None:
        super().__init__(store)
        self.given = 0
        self._spoil = spoil

    def find(self, wanted: Collection[LostContent]) -> Iterator[tuple[LostContent, Copy]]:
        for one, copy in super().find(wanted):
            self.given += 1
            if self._spoil:
                self._spoil -= 1
                yield one, Copy(copy.length, partial(iter, [bytes(copy.length)]))
            else:
                yield one, copy


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Shelves]:
    for opened in shelves(tmp_path / "source"):
        opened.put(ct_series(100))
        yield opened


@pytest.fixture
def target(tmp_path: Path) -> Iterator[PackStore]:
    with PackStore(tmp_path / "target", PackSettings(reserve_bytes=0)) as store:
        yield store


def test_everything_comes_along_and_what_follows_later(source: Shelves, target: PackStore) -> None:
    copies = Counted(source.store)
    carrier = Carrier(source.catalogue, target, copies)
    carrier.carry()
    assert cross_check(source.catalogue, target).incomplete == 0
    assert carrier.done.contents == copies.given == 200  # a header and a frame each
    source.put(ct_series(3, study="1.2.9", seed=9))
    carrier.carry()
    assert copies.given == 206
    again = Carrier(source.catalogue, target, copies)
    again.carry()
    assert (again.done.versions, again.done.contents, copies.given) == (103, 0, 206)


def test_what_another_study_brought_is_not_carried_again(source: Shelves, target: PackStore) -> None:
    source.put(ct_series(100, study="1.2.9"))  # the same frames
    copies = Counted(source.store)
    Carrier(source.catalogue, target, copies).carry()
    assert copies.given == 300  # a header each, and a frame for two
    assert cross_check(source.catalogue, target).incomplete == 0


def test_what_is_not_what_it_should_be_is_not_taken(source: Shelves, target: PackStore) -> None:
    with pytest.raises(BackendFailed, match="1 contents cannot be read"):
        Carrier(source.catalogue, target, Counted(source.store, spoil=1)).carry()
    Carrier(source.catalogue, target, Counted(source.store)).carry()
    assert cross_check(source.catalogue, target).incomplete == 0


@pytest.mark.parametrize("object_lock", [True, False])
def test_what_is_on_legal_hold_is_on_hold_in_the_bucket(source: Shelves, tmp_path: Path, object_lock: bool) -> None:
    source.put(ct_series(3, study="1.2.9", seed=9))
    held = Held(study_instance_uid="1.2.9")
    Holds(source.catalogue).place(NewHold("main", held, "counsel", "case 12", RECEIVED_AT))
    bucket = MemoryBucket(object_lock=object_lock)
    with closing(ObjectStore(tmp_path / "origin", bucket, open_index(tmp_path / "index.sqlite"))) as target:
        carrier = Carrier(source.catalogue, target, StoreCopies(source.store))
        carrier.carry()
        assert cross_check(source.catalogue, target).incomplete == 0
    assert carrier.done.not_locked == int(not object_lock)
    assert bool(bucket.held) == object_lock
