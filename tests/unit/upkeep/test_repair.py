from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from nearframe.storage.packs.record import FILE_HEADER_BYTES, HEADER_BYTES
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.storage.upkeep import LostContent
from nearframe.upkeep.backup.copies import BackupCopies
from nearframe.upkeep.repair import Copy, OwnStore, repair
from tests.packs import lose_index, put
from tests.syncing import STUDY_UID, Shelves, ct_series, edited, instance_uid, rename
from tests.unit.upkeep.conftest import Kept


def flip(pack: Path, offset: int) -> None:
    with pack.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def mended(kept: Kept) -> tuple[int, int]:
    """Scrub, then repair from the backup; return what was lost and what came back."""
    shelves = kept.shelves
    shelves.store.scrub()
    found = repair(OwnStore(shelves.store, shelves.catalogue), BackupCopies(kept.points, kept.root_key))
    return found.lost, found.mended


def test_a_damaged_content_comes_back_from_a_backup(kept: Kept) -> None:
    files = ct_series(5, rows=64)
    kept.shelves.put(files)
    kept.back_up()
    flip(kept.home / "packs" / "00000001.seg", FILE_HEADER_BYTES + HEADER_BYTES + 100)
    assert mended(kept) == (1, 1)
    assert mended(kept) == (0, 0)
    for file in files:
        assert kept.shelves.file(instance_uid(file)) == file


def test_packs_that_are_gone_with_their_index_come_back(kept: Kept) -> None:
    files = ct_series(5, rows=64)
    renamed = [edited(file, rename("Doe^Janet")) for file in files]
    kept.shelves.put(files)
    kept.back_up()
    kept.shelves.put(renamed)
    kept.back_up()
    kept.shelves.close()
    (kept.home / "packs" / "00000001.seg").unlink()
    lose_index(kept.home)
    kept.shelves = Shelves.open(kept.home)
    lost, back = mended(kept)
    assert lost == back == 15
    for file in renamed:
        assert kept.shelves.file(instance_uid(file)) == file


def test_what_several_studies_share_comes_back_for_all(kept: Kept) -> None:
    studies = [StudyRef("main", "1.2"), StudyRef("main", "1.3"), StudyRef("other", "1.2")]
    digests = [put(kept.shelves.store, study, bytes(range(256)) * 20) for study in studies]
    kept.back_up()
    for offset in (0, 5120 + HEADER_BYTES + 16 + HEADER_BYTES):
        flip(kept.home / "packs" / "00000001.seg", FILE_HEADER_BYTES + HEADER_BYTES + 10 + offset)
    assert mended(kept) == (3, 3)
    for study, digest in zip(studies, digests, strict=True):
        assert kept.shelves.store.read(study, digest) == bytes(range(256)) * 20


def test_a_content_whose_first_holder_is_gone_is_opened_by_another(kept: Kept) -> None:
    store = kept.shelves.store
    first, second = StudyRef("main", "1.2"), StudyRef("main", "1.3")
    data = bytes(range(256)) * 20
    digest = put(store, first, data)
    put(store, second, data)
    store.release(first, [digest])
    put(store, first, b"something else")
    store.compact(1.0)  # the log is left alone
    kept.shelves.close()
    kept.shelves = Shelves.open(kept.home)
    kept.back_up()
    flip(kept.home / "packs" / "00000001.seg", FILE_HEADER_BYTES + HEADER_BYTES + 10)
    assert mended(kept) == (1, 1)
    assert kept.shelves.store.read(second, digest) == data


def test_what_the_last_backup_has_not_is_found_in_an_older_one(kept: Kept) -> None:
    files = ct_series(3, rows=64)
    kept.shelves.put(files)
    kept.back_up()
    pack = kept.home / "packs" / "00000001.seg"
    # From here on backups hold the damage: the pack's end is not as it was known.
    flip(pack, FILE_HEADER_BYTES + HEADER_BYTES + 100)
    flip(pack, pack.stat().st_size - 1)
    kept.back_up()
    lost, back = mended(kept)
    assert lost == back > 0
    assert kept.shelves.file(instance_uid(files[0])) == files[0]


def test_what_is_nowhere_stays_lost(kept: Kept) -> None:
    kept.shelves.put(ct_series(3))
    kept.back_up()
    flip(kept.home / "packs" / "00000001.seg", FILE_HEADER_BYTES + HEADER_BYTES + 100)
    shutil.rmtree(kept.folder / "vault" / "blobs")
    point = kept.points.at(None)
    for part in point.ring:  # the ring is needed to look at all
        kept.vault.put(part.name, (kept.home / "keys" / "ring").read_bytes())
    assert mended(kept) == (1, 0)


class Liar:
    def find(self, wanted: Collection[LostContent]) -> Iterator[tuple[LostContent, Copy]]:
        for lost in wanted:
            yield lost, Copy(3, lambda: iter([b"lie"]))


def test_a_copy_that_is_not_the_content_is_not_taken(kept: Kept) -> None:
    kept.shelves.put(ct_series(3))
    flip(kept.home / "packs" / "00000001.seg", FILE_HEADER_BYTES + HEADER_BYTES + 100)
    kept.shelves.store.scrub()
    found = repair(OwnStore(kept.shelves.store, None), Liar())
    assert (found.lost, found.mended) == (1, 0)
    (lost,) = kept.shelves.store.damaged()
    assert lost.study == StudyRef("main", STUDY_UID)
    assert lost.kind is ContentKind.HEADER
