from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nearframe.clock import ManualClock
from nearframe.errors import Busy, ConfigurationError, IntegrityError, NoSpace
from nearframe.storage.packs.locks import keeping_packs
from nearframe.storage.role import set_role
from nearframe.units import MIB
from nearframe.upkeep.backup import take
from nearframe.upkeep.backup.take import take_backup
from nearframe.upkeep.backup.vault import DirectoryVault
from tests.syncing import accession, ct_series, edited
from tests.unit.upkeep.conftest import Kept, untold


def test_only_what_is_new_is_written(kept: Kept) -> None:
    kept.shelves.put(ct_series(20, rows=64))
    first = kept.back_up()
    assert first.written_bytes > 20 * 64 * 64 * 2
    assert kept.back_up().written_bytes == 0
    kept.shelves.put(ct_series(2, rows=64, series=2, seed=2))
    second = kept.back_up()
    pages = sum(path.stat().st_size for path in kept.blobs()) - first.written_bytes
    assert second.written_bytes == pages < first.written_bytes / 2
    assert second.point.holds.instances == 22


def test_a_change_of_metadata_copies_no_pixels(kept: Kept) -> None:
    files = ct_series(20, rows=256)
    kept.shelves.put(files)
    kept.back_up()
    kept.shelves.put([edited(file, accession("A-2")) for file in files])
    pixels = 20 * 256 * 256 * 2
    assert kept.back_up().written_bytes < pixels / 10


def test_large_packs_are_kept_in_parts(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take, "PART_BYTES", 10_000)
    kept.shelves.put(ct_series(10, rows=64))
    point = kept.back_up().point
    assert len(point.packs[0].parts) == -(-point.packs[0].length // 10_000)
    kept.restore()
    packs = [folder / "packs" / "00000001.seg" for folder in (kept.home, kept.folder / "restored")]
    assert packs[0].read_bytes() == packs[1].read_bytes()


def test_a_pack_that_took_the_number_of_another_is_copied_anew(kept: Kept) -> None:
    kept.shelves.put(ct_series(5))
    point = kept.back_up().point
    log = kept.home / "packs" / "00000001.seg"
    data = bytearray(log.read_bytes())
    data[-1] ^= 1
    log.write_bytes(data)
    other = kept.back_up().point
    assert other.packs[0].parts != point.packs[0].parts
    assert other.packs[0].length == point.packs[0].length


def test_a_record_that_is_being_written_waits_for_the_next_backup(kept: Kept) -> None:
    kept.shelves.put(ct_series(3))
    whole = kept.back_up().point.packs[0].length
    log = kept.home / "packs" / "00000001.seg"
    with log.open("ab") as file:
        file.write(b"NFR\x01" + bytes(300))
    assert kept.back_up().point.packs[0].length == whole


def test_no_pack_goes_while_it_is_copied(kept: Kept) -> None:
    with keeping_packs(kept.home), pytest.raises(Busy, match="being backed up"):
        kept.shelves.store.compact()
    kept.shelves.store.compact()


def test_nothing_that_names_a_patient_leaves_in_clear(kept: Kept) -> None:
    kept.shelves.put(ct_series(3))
    kept.back_up()
    kept.shelves.close()
    home = b"".join(path.read_bytes() for path in kept.home.glob("catalogue.sqlite*"))
    assert b"PID-1" in home
    for path in kept.blobs():
        assert b"PID-1" not in path.read_bytes()
    assert not list((kept.home / "scratch").iterdir())


def test_only_the_last_ones_are_kept(kept: Kept) -> None:
    for number in range(1, 5):
        kept.shelves.put(ct_series(1, series=number, seed=number))
        kept.back_up()
    names = kept.points.names()
    before = len(kept.blobs())
    assert kept.points.keep_last(2) == 2
    assert kept.points.names() == names[2:]
    assert len(kept.blobs()) < before
    for name in kept.points.names():
        assert kept.restore(name, kept.points.load(name)).is_whole
    assert kept.points.keep_last(2) == 0


def test_a_vault_belongs_to_one_archive(kept: Kept, tmp_path: Path) -> None:
    kept.back_up()
    other = Kept(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="another root key"):
        take_backup(other.home, kept.vault, ManualClock(), untold)
    other.close()


def test_what_cannot_be_backed_up(kept: Kept, tmp_path: Path) -> None:
    with DirectoryVault(tmp_path / "v", create=True) as vault:
        with pytest.raises(ConfigurationError, match="no archive is there"):
            take_backup(tmp_path / "none", vault, ManualClock(), untold)
        set_role(kept.home, "edge")
        with pytest.raises(ConfigurationError, match="edge outbox"):
            take_backup(kept.home, vault, ManualClock(), untold)
        set_role(kept.home, "origin")
        take_backup(kept.home, vault, ManualClock(), untold)
        with pytest.raises(Busy, match="very moment"):
            take_backup(kept.home, vault, ManualClock(), untold)


def test_a_damaged_catalogue_is_told_of(kept: Kept) -> None:
    kept.shelves.put(ct_series(300))
    kept.shelves.close()
    copy = kept.folder / "damaged"
    shutil.copytree(kept.home, copy)
    file = copy / "catalogue.sqlite"
    data = bytearray(file.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    file.write_bytes(data)
    assert len(data) < 4 * MIB
    with pytest.raises(IntegrityError, match="damaged"):
        take_backup(copy, kept.vault, ManualClock(), untold)


class FullVault(DirectoryVault):
    """A vault whose disk is full after some blobs."""

    left = 3

    def put(self, name: str, data: bytes) -> bool:
        self.left -= 1
        if self.left < 0:
            raise NoSpace(len(data), 0)
        return super().put(name, data)


def test_a_full_vault_keeps_no_point_and_the_next_backup_uses_what_is_there(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take, "PART_BYTES", 10_000)
    kept.shelves.put(ct_series(10, rows=64))
    with FullVault(tmp_path / "full", create=True) as vault:
        with pytest.raises(NoSpace):
            take_backup(kept.home, vault, kept.clock, untold)
        assert vault.names("points") == []
        kept_before = len(vault.names("blobs"))
        vault.left = 1000
        taken = take_backup(kept.home, vault, kept.clock, untold)
        blobs = sum(path.stat().st_size for path in (tmp_path / "full" / "blobs").glob("*/*"))
        assert kept_before > 0
        assert taken.written_bytes < blobs
