from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from nearframe.errors import BackendFailed, ConfigurationError, IntegrityError, NotFound
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.role import UNFINISHED, claim, role_of
from nearframe.upkeep.backup import restore as restoring
from nearframe.upkeep.backup import take
from nearframe.upkeep.backup.point import PointKeys
from nearframe.upkeep.backup.points import Points
from nearframe.upkeep.backup.restore import Restored, prove_point, restore_catalogue
from nearframe.upkeep.crosscheck import cross_check
from tests.syncing import Shelves, ct_series, edited, instance_uid, rename
from tests.unit.upkeep.conftest import Kept, untold


def test_everything_is_back_byte_for_byte(kept: Kept) -> None:
    files = ct_series(10)
    renamed = [edited(file, rename("Doe^Janet")) for file in files[:5]]
    kept.shelves.put(files)
    kept.shelves.put(renamed)
    head = kept.shelves.catalogue.head()
    kept.back_up()
    restored = kept.restore()
    assert restored.is_whole
    assert restored.checked.versions == 15
    shelves = kept.reopened()
    for file in (*renamed, *files[5:]):
        assert shelves.file(instance_uid(file)) == file
    assert len(shelves.catalogue.list_versions("main", instance_uid(files[0]))) == 2
    assert shelves.catalogue.head().seq == head.seq
    assert shelves.catalogue.head().epoch != head.epoch  # edges compare anew
    assert role_of(kept.folder / "restored") == "origin"
    shelves.put(ct_series(2, series=2, seed=2))  # and it goes on from there
    shelves.close()


def test_a_restored_archive_is_backed_up_where_it_was_before(kept: Kept) -> None:
    kept.shelves.put(ct_series(10, rows=64))
    kept.back_up()
    kept.restore()
    kept.shelves.close()
    shutil.rmtree(kept.home)
    (kept.folder / "restored").rename(kept.home)
    assert kept.back_up().written_bytes < 200_000  # the catalogue, for its new epoch


def test_the_last_backup_before_a_moment(kept: Kept) -> None:
    for number in range(1, 4):
        kept.shelves.put(ct_series(1, series=number, seed=number))
        kept.back_up()
    first, second, third = kept.points.names()
    assert kept.points.at(None).name == third
    assert kept.points.at(second).name == second
    assert kept.points.at("2026-01-01T00:02:30+00:00").name == second
    assert kept.points.at("2026-01-01T00:01:00+00:00").name == first
    with pytest.raises(ConfigurationError, match="the oldest backup"):
        kept.points.at("2025-12-31")
    with pytest.raises(ConfigurationError, match="neither a backup nor a time"):
        kept.points.at("yesterday")
    kept.restore(point=kept.points.at(second))
    shelves = kept.reopened()
    assert shelves.catalogue.totals().instances == 2
    with pytest.raises(NotFound):
        shelves.file(instance_uid(ct_series(1, series=3, seed=3)[0]))
    shelves.close()


def test_without_a_backup_or_with_another_key(kept: Kept) -> None:
    with pytest.raises(ConfigurationError, match="no backup in this folder"):
        kept.points.at(None)
    kept.back_up()
    with pytest.raises(ConfigurationError, match="another root key"):
        Points(kept.vault, PointKeys(bytes(32))).at(None)


def test_a_home_that_is_not_empty(kept: Kept) -> None:
    kept.back_up()
    (kept.folder / "full").mkdir()
    (kept.folder / "full" / "something").touch()
    with pytest.raises(ConfigurationError, match="not empty"):
        kept.restore("full")
    (kept.folder / "mount" / "lost+found").mkdir(parents=True)
    assert kept.restore("mount").is_whole


def test_a_restore_that_did_not_end_is_begun_anew_and_no_node_starts_meanwhile(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.shelves.put(ct_series(3))
    kept.back_up()
    home = kept.folder / "restored"
    with monkeypatch.context() as patched:
        patched.setattr(restoring, "_prove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            kept.restore()
    assert role_of(home) == UNFINISHED
    with pytest.raises(ConfigurationError, match="did not end"):
        claim(home, "origin")
    assert kept.restore().is_whole
    claim(home, "origin")


def test_a_newer_release_made_it(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.back_up()
    monkeypatch.setattr(restoring, "LATEST", 1)
    with pytest.raises(ConfigurationError, match="this one is older"):
        kept.restore()
    assert not (kept.folder / "restored").exists()


def test_a_blob_that_cannot_be_read_does_not_hide_the_others(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take, "PART_BYTES", 20_000)
    kept.shelves.put(ct_series(20, rows=64))
    point = kept.back_up().point
    unreadable, gone = (point.packs[0].parts[number].name for number in (1, 4))
    (kept.folder / "vault" / _path(gone)).unlink()
    get = kept.vault.get

    def read(name: str, start: int = 0, stop: int | None = None) -> bytes:
        if name == unreadable:
            raise BackendFailed("the disk refused a read")
        return get(name, start, stop)

    monkeypatch.setattr(kept.vault, "get", read)
    assert prove_point(kept.points, point, untold) == 2


def test_damage_in_a_pack_costs_what_it_hit(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take, "PART_BYTES", 20_000)
    files = ct_series(20, rows=64)
    kept.shelves.put(files)
    point = kept.back_up().point
    flipped, gone = (kept.folder / "vault" / _path(point.packs[0].parts[number].name) for number in (1, 4))
    data = bytearray(flipped.read_bytes())
    data[random.Random(1).randrange(len(data))] ^= 1
    flipped.write_bytes(data)
    gone.unlink()
    assert prove_point(kept.points, point, untold) == 2
    restored = kept.restore()
    assert not restored.is_whole
    assert 2 <= restored.checked.incomplete <= 6
    shelves = kept.reopened()
    back = 0
    for file in files:
        try:
            back += shelves.file(instance_uid(file)) == file
        except (IntegrityError, NotFound):
            continue
    assert back == 20 - restored.checked.incomplete
    shelves.close()


@pytest.mark.parametrize("of", ["catalogue", "ring", "point"])
def test_damage_elsewhere_is_refused(kept: Kept, of: str) -> None:
    kept.shelves.put(ct_series(3))
    point = kept.back_up().point
    names = {"catalogue": point.catalogue[0].part.name, "ring": point.ring[0].name, "point": f"points/{point.name}"}
    path = kept.folder / "vault" / _path(names[of])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError if of != "point" else ConfigurationError):
        kept.restore()
    assert role_of(kept.folder / "restored") in ("", UNFINISHED)


def test_a_catalogue_and_packs_that_are_not_of_one_moment_are_told_apart(kept: Kept, tmp_path: Path) -> None:
    files = ct_series(3)
    kept.shelves.put(files)
    kept.back_up()
    kept.restore()
    home = kept.folder / "restored"
    with PackStore(home, PackSettings(reserve_bytes=0)) as store:
        record = kept.shelves.catalogue.find_instance("main", instance_uid(files[0]))
        store.release(record.study, [record.hdr])
    shelves = kept.reopened()
    found = cross_check(shelves.catalogue, shelves.store)
    assert (found.versions, found.incomplete, found.contents) == (3, 1, 1)
    shelves.close()


def _path(name: str) -> Path:
    prefix, _, own = name.partition("/")
    return Path(prefix, own[-2:], own)


def test_a_lost_catalogue_comes_back_beside_its_packs(kept: Kept) -> None:
    files, later = ct_series(3), ct_series(2, series=2, seed=2)
    kept.shelves.put(files)
    head = kept.shelves.catalogue.head()
    kept.back_up()
    kept.shelves.put(later)

    def bring_back() -> Restored:
        return restore_catalogue(kept.points, kept.points.at(None), kept.root_key, kept.home, untold)

    with pytest.raises(ConfigurationError, match="a catalogue is there"):
        bring_back()
    kept.shelves.close()
    (kept.home / "catalogue.sqlite").unlink()
    restored = bring_back()
    assert (restored.checked.versions, restored.checked.incomplete) == (3, 0)
    kept.shelves = Shelves.open(kept.home)
    assert kept.shelves.catalogue.head().epoch != head.epoch
    for file in files:
        assert kept.shelves.file(instance_uid(file)) == file
    stored = kept.shelves.store.stats().stored_bytes
    kept.shelves.put(later)  # nothing but their versions was lost
    assert kept.shelves.store.stats().stored_bytes == stored
    with pytest.raises(ConfigurationError, match="no packs are there"):
        restore_catalogue(kept.points, kept.points.at(None), kept.root_key, kept.folder / "none", untold)
