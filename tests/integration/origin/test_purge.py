"""Purging real objects: nothing of them is left on the disk, and nothing of what others refer to is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from bench.rejection import note
from nearframe.clock import ManualClock
from nearframe.context import local_admin
from nearframe.corrections.asked import Patient, read_asked
from nearframe.corrections.holding import HoldService
from nearframe.corrections.service import CorrectionService
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.errors import Busy, Conflict, NotFound, OnHold
from nearframe.origin.renditions import Renditions
from nearframe.query.freshness import Freshness
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.catalogue.purging import Purging
from nearframe.storage.packs.locks import keeping_packs
from nearframe.storage.ports import Outcome, StudyRef
from nearframe.upkeep.purge import Purger
from tests.integration.origin.conftest import Node, open_node
from tests.packs import bodies_below, everything_below
from tests.syncing import ct_series, edited, instance_uid

STUDY, OTHER = StudyRef("main", "1.2.826.7.1"), StudyRef("main", "1.2.826.7.2")
FILES = ct_series(4, study=STUDY.study_instance_uid)
GRACE = timedelta(days=30)


def at_once(_nbytes: int) -> None:
    pass


def copies(files: list[bytes]) -> list[bytes]:
    """Return the same pictures as objects of another study."""

    def refile(number: int, file: bytes) -> bytes:
        def change(ds: object) -> None:
            ds.StudyInstanceUID = OTHER.study_instance_uid  # type: ignore[attr-defined]
            ds.SOPInstanceUID = f"{OTHER.study_instance_uid}.{number}"  # type: ignore[attr-defined]

        return edited(file, change)

    return [refile(number, file) for number, file in enumerate(files, start=1)]


@dataclass
class Archive:
    """An origin with what looks after it, and a clock to turn."""

    node: Node
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        catalogue, in_use = self.node.catalogue, self.node.ingest.in_use
        corrections, holds, self.purging = Corrections(catalogue), Holds(catalogue), Purging(catalogue)
        self.clock.advance(365 * 86400 * 2)  # beyond what was received, which the system's clock says
        self.corrections = CorrectionService(
            self.node.contents, catalogue, corrections, Freshness(), self.node.metrics, clock=self.clock, in_use=in_use,
            on_vain=self.purging.doubt,
        )  # fmt: skip
        self.holds = HoldService(holds, corrections, clock=self.clock)
        self.purger = Purger(
            self.purging, holds, self.node.contents, in_use, Freshness(), self.node.metrics,
            grace=GRACE, clock=self.clock,
        )  # fmt: skip

    def delete(self, study: StudyRef = STUDY, *uids: str) -> None:
        select = {"study": study.study_instance_uid} | ({"instances": list(uids)} if uids else {})
        asked = read_asked({"action": "delete", "reason": "taken in error", "select": select})
        self.corrections.make(local_admin(), asked)

    def shown(self, study: StudyRef) -> list[bytes]:
        return [self.node.file(record) for record in self.node.catalogue.list_instances(study)]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with open_node(tmp_path / "home") as node:
        yield Archive(node)


async def test_no_byte_of_a_purged_study_is_left_and_shared_frames_stay(archive: Archive) -> None:
    home = archive.node.home
    await archive.node.store(*FILES)
    twins = copies(FILES[:2])
    await archive.node.store(*twins)
    before = bodies_below(home)
    archive.delete()
    archive.clock.advance((GRACE + timedelta(days=1)).total_seconds())
    done = archive.purger.run(at_once)
    assert (done.instances, done.put_off, done.is_erased) == (4, 0, True)
    gone = before - bodies_below(home)
    assert len(gone) == 4 + 2  # four headers, and the frames that no other study has
    left = everything_below(home / "packs")
    assert not any(body in left for body in gone)
    assert archive.shown(OTHER) == twins
    for uid in map(instance_uid, FILES):
        with pytest.raises(NotFound):
            archive.node.catalogue.find_instance("main", uid)
    report = archive.node.contents.scrub()
    assert (report.damaged, report.unreferenced) == (0, 0)


async def test_within_the_grace_period_nothing_goes(archive: Archive) -> None:
    await archive.node.store(*FILES)
    archive.delete()
    archive.clock.advance(GRACE.total_seconds() - 60)
    before = bodies_below(archive.node.home)
    assert archive.purger.run(at_once).instances == 0
    assert bodies_below(archive.node.home) == before
    deleted = archive.corrections.record.latest("main")[0]
    archive.corrections.undo(local_admin(), deleted.id, "it was right")
    assert archive.shown(STUDY) == FILES


async def test_a_purge_may_be_asked_for_before_its_time(archive: Archive) -> None:
    await archive.node.store(*FILES)
    with pytest.raises(Conflict, match="delete it first"):
        archive.purger.purge_study(local_admin(), STUDY, "court order")
    archive.delete(STUDY, instance_uid(FILES[0]))
    done = archive.purger.purge_study(local_admin(), STUDY, "court order")
    assert [(made.action, made.reason, made.principal) for made in done.records] == [
        ("purge", "court order", "local_admin")
    ]
    assert archive.purger.run(at_once).is_erased
    assert archive.shown(STUDY) == FILES[1:]
    (again,) = (await archive.node.store(FILES[0])).stored
    assert again.outcome is Outcome.WITHDRAWN


async def test_what_is_on_hold_is_not_purged(archive: Archive) -> None:
    await archive.node.store(*FILES)
    archive.delete(STUDY, instance_uid(FILES[0]))
    hold = archive.holds.place(local_admin(), Patient("PID-1"), "case 12")
    archive.clock.advance((GRACE + timedelta(days=1)).total_seconds())
    assert archive.purger.run(at_once).instances == 0
    with pytest.raises(OnHold) as refused:
        archive.purger.purge_study(local_admin(), STUDY, "court order")
    assert refused.value.holds == (hold.id,)
    archive.holds.release(local_admin(), hold.id, "settled")
    assert archive.purger.run(at_once).instances == 1


async def test_what_a_refused_correction_prepared_is_let_go_of(archive: Archive) -> None:
    await archive.node.store(*FILES)
    hold = archive.holds.place(local_admin(), STUDY.study_instance_uid, "case 12")
    before = bodies_below(archive.node.home)
    asked = {"action": "move", "select": {"study": STUDY.study_instance_uid}, "to": {"study": OTHER.study_instance_uid}}
    with pytest.raises(OnHold):
        archive.corrections.make(local_admin(), read_asked(asked | {"reason": "another order"}))
    assert archive.purger.run(at_once).is_erased
    assert bodies_below(archive.node.home) == before
    assert archive.node.contents.missing(OTHER, [archive.node.catalogue.list_instances(STUDY)[0].hdr])
    archive.holds.release(local_admin(), hold.id, "settled")
    archive.corrections.make(local_admin(), read_asked(asked | {"reason": "another order"}))
    assert len(archive.shown(OTHER)) == len(FILES)


async def test_a_rejection_note_about_something_on_hold_is_kept_and_not_honoured(archive: Archive) -> None:
    await archive.node.store(*FILES)
    archive.holds.place(local_admin(), STUDY.study_instance_uid, "case 12")
    rejecting = note(FILES[:1], "113037", f"{STUDY.study_instance_uid}.9")
    assert not (await archive.node.store(rejecting)).failed
    shown = archive.shown(STUDY)
    assert set(FILES) <= set(shown)
    assert len(shown) == len(FILES) + 1


async def test_what_is_being_taken_in_is_put_off(archive: Archive) -> None:
    await archive.node.store(*FILES)
    archive.delete()
    archive.clock.advance((GRACE + timedelta(days=1)).total_seconds())
    archive.node.ingest.in_use.begin(STUDY)
    done = archive.purger.run(at_once)
    assert (done.instances, done.put_off) == (0, 1)
    archive.node.ingest.in_use.end(STUDY)
    assert archive.purger.run(at_once).instances == 4


async def test_while_a_backup_copies_the_packs_the_bytes_wait(archive: Archive) -> None:
    await archive.node.store(*FILES)
    archive.delete()
    before = bodies_below(archive.node.home)
    archive.clock.advance((GRACE + timedelta(days=1)).total_seconds())
    with keeping_packs(archive.node.home), pytest.raises(Busy):
        archive.purger.run(at_once)
    assert bodies_below(archive.node.home) == before
    assert archive.purger.run(at_once).is_erased
    assert not before & bodies_below(archive.node.home)


async def test_a_rendition_that_was_made_while_its_frame_was_purged_goes_too(archive: Archive) -> None:
    node, files = archive.node, ct_series(2, rows=64, study=STUDY.study_instance_uid)
    await node.store(*files)
    before = bodies_below(node.home)
    renditions = Renditions(node.catalogue, node.contents, archive.purging.doubt)
    (gone, _) = node.catalogue.list_instances(STUDY)
    made = renditions.make(gone, lambda study, enc: node.contents.read(study, enc))
    assert made is not None
    archive.delete(STUDY, gone.identity.sop_instance_uid)
    archive.clock.advance((GRACE + timedelta(days=1)).total_seconds())
    assert archive.purger.run(at_once).instances == 1
    renditions.write([made])
    assert archive.purger.run(at_once).is_erased
    assert bodies_below(node.home) < before
    assert node.catalogue.rendition("main", made.renditions[0].source, HTJ2KLosslessRPCL) is None


PURGE_UNTIL_KILLED = textwrap.dedent(
    """
    import sys, time
    from datetime import timedelta
    from pathlib import Path
    from nearframe.clock import ManualClock
    from nearframe.intake.inuse import StudiesInUse
    from nearframe.metrics import Metrics
    from nearframe.query.freshness import Freshness
    from nearframe.storage.catalogue import open_catalogue
    from nearframe.storage.catalogue.holds import Holds
    from nearframe.storage.catalogue.purging import Purging
    from nearframe.storage.packs import PackSettings, PackStore
    from nearframe.upkeep.purge import Purger

    home, steps = Path(sys.argv[1]), int(sys.argv[2])
    catalogue = open_catalogue(home / "catalogue.sqlite")
    clock = ManualClock()
    clock.advance(10 * 365 * 86400)

    def told(name):
        global steps
        steps -= 1
        if steps == 0:
            print("now", flush=True)
            time.sleep(60)

    class Watched(PackStore):
        def release(self, *args):
            told("release")
            super().release(*args)
            told("released")
        def sync(self, *args):
            super().sync(*args)
            told("synced")
        def shred(self, *args):
            super().shred(*args)
            told("shredded")

    class Watching(Purging):
        def purge(self, *args):
            made = super().purge(*args)
            told("purged")
            return made
        def let_go(self, *args):
            super().let_go(*args)
            told("noted")
        def erased(self, *args):
            told("erased")
            super().erased(*args)

    with Watched(home, PackSettings(reserve_bytes=0)) as packs:
        purger = Purger(Watching(catalogue), Holds(catalogue), packs, StudiesInUse(), Freshness(), Metrics(),
                        grace=timedelta(days=30), clock=clock)
        purger.run(lambda size: told("copied"))
    print("done", flush=True)
    """
)


async def test_killed_anywhere_it_loses_nothing_and_the_next_one_ends_it(tmp_path: Path, root: Path) -> None:
    """kill -9 after each step of a purge: the transaction, each release, the shredding, each piece copied."""
    home, twins = tmp_path / "home", copies(FILES[:2])
    with open_node(home) as node:
        archive = Archive(node)
        await node.store(*FILES)
        await node.store(*twins)
        archive.delete()
    before = bodies_below(home)
    for step in range(1, 100):
        killed = _killed_at(step, home, root)
        with open_node(home) as node:
            archive = Archive(node)
            assert archive.shown(OTHER) == twins
            assert node.contents.scrub().damaged == 0
        if not killed:
            break
    assert step > 5
    gone = before - bodies_below(home)
    assert len(gone) == 4 + 2
    left = everything_below(home / "packs")
    assert not any(body in left for body in gone)


def _killed_at(step: int, home: Path, root: Path) -> bool:
    """Purge, and kill the process at a step; return False if it ended before."""
    process = subprocess.Popen(
        [sys.executable, "-c", PURGE_UNTIL_KILLED, str(home), str(step)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin"},
    )
    assert process.stdout is not None
    told = process.stdout.readline().strip()
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    assert told in ("now", "done")
    return told == "now"
