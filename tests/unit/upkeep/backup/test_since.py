"""What an archive did after the backup that it is brought back to: told, and kept where that loses nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.catalogue.purging import Purging
from nearframe.storage.ports import Held, NewCorrection, NewHold, Release, StudyRef
from nearframe.upkeep.backup.restore import restore
from tests.syncing import ct_series, instance_uid
from tests.unit.upkeep.conftest import Kept, untold

FIRST, SECOND, THIRD = (StudyRef("main", f"1.2.{number}") for number in (1, 2, 3))
FILES = {study: ct_series(2, study=study.study_instance_uid, seed=n) for n, study in enumerate((FIRST, SECOND, THIRD))}


def now(kept: Kept) -> datetime:
    kept.clock.advance(1)
    return kept.clock.now()


def purge(kept: Kept, study: StudyRef, sop_instance_uid: str | None = None) -> None:
    catalogue = kept.shelves.catalogue
    catalogue.delete(study, None, sop_instance_uid)
    before = datetime.now().astimezone() + timedelta(days=1)
    for due in Purging(catalogue).due(before, study):
        detail = {"studies": [study.study_instance_uid]}
        assert Purging(catalogue).purge(due, before, NewCorrection("main", "purge", "me", "due", now(kept), detail))


@pytest.fixture
def archive(kept: Kept) -> Kept:
    """With a backup of three studies, a second one of what became of them, and holds between the two."""
    for files in FILES.values():
        kept.shelves.put(files)
    holds = Holds(kept.shelves.catalogue)
    released = holds.place(
        NewHold("main", Held(study_instance_uid=THIRD.study_instance_uid), "counsel", "case 1", now(kept))
    )
    kept.back_up()
    holds.release("main", released.id, Release("counsel", "settled", now(kept)))
    purge(kept, FIRST)
    purge(kept, SECOND, instance_uid(FILES[SECOND][0]))
    kept.shelves.put(ct_series(1, study="1.2.4", seed=9))
    for uid in (SECOND.study_instance_uid, "1.2.4"):
        holds.place(NewHold("main", Held(study_instance_uid=uid), "counsel", "case 2", now(kept)))
    kept.back_up()
    return kept


def test_what_was_purged_is_told_and_holds_stand_again(archive: Kept) -> None:
    first, last = map(archive.points.load, archive.points.names())
    since = archive.restore(point=first).since
    assert since is not None
    assert (since.until, since.corrections) == (last.taken_at, 2)  # they were deleted first
    assert (set(since.purged), since.hidden) == ({FIRST, SECOND}, 0)
    assert (since.holds_placed, since.holds_lost, since.holds_standing) == (1, 1, 1)
    shelves = archive.reopened()
    assert [len(shelves.catalogue.list_instances(study)) for study in (FIRST, SECOND, THIRD)] == [2, 2, 2]
    standing = {hold.held.study_instance_uid: hold for hold in Holds(shelves.catalogue).latest("main")}
    assert set(standing) == {SECOND.study_instance_uid, THIRD.study_instance_uid}
    assert (standing[SECOND.study_instance_uid].principal, standing[SECOND.study_instance_uid].reason) == (
        "counsel",
        "case 2",
    )
    shelves.close()


def test_what_was_purged_goes_from_view_again_if_asked(archive: Kept) -> None:
    first = archive.points.load(archive.points.names()[0])
    restored = restore(archive.points, first, archive.root_key, archive.folder / "restored", untold, hides_purged=True)
    assert restored.since is not None
    assert restored.since.hidden == 3
    shelves = archive.reopened()
    assert [one.identity.sop_instance_uid for one in shelves.catalogue.list_instances(SECOND)] == [
        instance_uid(FILES[SECOND][1])
    ]
    [due] = Purging(shelves.catalogue).due(datetime.now().astimezone() + timedelta(days=1))
    assert due.studies == {FIRST}, "the other one is on hold again"
    shelves.close()


def test_the_last_backup_knows_of_nothing_since(archive: Kept) -> None:
    assert archive.restore().since is None
    assert list((archive.folder / "restored").glob("last-*")) == []
