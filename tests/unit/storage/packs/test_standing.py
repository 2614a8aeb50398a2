from __future__ import annotations

import os
from pathlib import Path

import pytest

from nearframe.errors import Busy, ConfigurationError, IntegrityError
from nearframe.storage.packs import PackStore
from nearframe.storage.packs.slots import SLOT_BYTES
from nearframe.storage.packs.standing import StandingPacks
from nearframe.storage.ports import StudyRef
from tests.packs import SMALL, put

A = StudyRef("main", "1.2")


def test_packs_are_listed_as_far_as_they_are_whole_and_read_one_at_a_time(tmp_path: Path) -> None:
    with PackStore(tmp_path, SMALL) as store:
        for number in range(100):
            put(store, A, number.to_bytes(2, "little") * 3000)
        log = tmp_path / "packs" / f"{100:08d}.seg"
        with log.open("ab") as file:
            file.write(b"NFR\x01" + bytes(100))  # a record that is being written
        before = len(os.listdir("/proc/self/fd"))
        with StandingPacks(tmp_path) as standing:
            packs = list(standing.packs())
            assert len(os.listdir("/proc/self/fd")) < before + 80
            assert [pack.number for pack in packs] == list(range(1, 101))
            assert packs[-1].length == log.stat().st_size - 104
            assert packs[0].read(0, packs[0].length) == (tmp_path / "packs" / "00000001.seg").read_bytes()
            assert packs[0].tail_at(packs[0].length) != packs[1].tail_at(packs[1].length)
            assert len(standing.ring()) == 2 * SLOT_BYTES  # a tenant, and a study
            with pytest.raises(IntegrityError, match="shorter than it was"):
                packs[-1].read(0, packs[-1].length + 1000)


def test_a_pack_that_went_is_told_of(tmp_path: Path) -> None:
    with PackStore(tmp_path, SMALL) as store:
        put(store, A, bytes(6000))
        put(store, A, bytes(6001))
    with StandingPacks(tmp_path) as standing:
        pack = next(standing.packs())
        fresh = StandingPacks(tmp_path)
        (tmp_path / "packs" / "00000001.seg").unlink()
        with fresh, pytest.raises(Busy, match="try again"):
            pack.__class__(1, 10, next(fresh.packs()).open).read(0, 10)


def test_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no store is there"):
        StandingPacks(tmp_path)
