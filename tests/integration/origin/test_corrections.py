"""Corrections of what is really stored: new versions, the same contents, and an exact way back."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from nearframe.context import Scope, local_admin
from nearframe.corrections.asked import read_asked
from nearframe.corrections.service import CorrectionService
from nearframe.dicomweb.ports import StoreReport
from nearframe.errors import AccessError, Conflict, NotFound
from nearframe.intake.ingest import WITHDRAWN
from nearframe.metrics import BACKGROUND_INSTANCES, CORRECTED_INSTANCES
from nearframe.origin.perceptual_hashes import PerceptualHashes
from nearframe.perceptual.phash import HASH_BYTES
from nearframe.query.freshness import Freshness
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.ports import CorrectionRecord, Outcome, StudyRef
from tests.integration.origin.conftest import Node, open_node
from tests.integration.origin.test_consumers import run_until_idle
from tests.syncing import Change, accession, ct_series, edited, instance_uid, rename

STUDY, OTHER = "1.2.826.5.1", "1.2.826.5.2"


@dataclass
class Archive:
    """An origin and its corrections."""

    node: Node
    service: CorrectionService

    async def store(self, files: list[bytes]) -> StoreReport:
        report = await self.node.store(*files)
        assert not report.failed
        return report

    def correct(self, action: str, **more: Any) -> CorrectionRecord:
        return self.service.make(local_admin(), read_asked({"action": action, "reason": "it was wrong", **more}))

    def undo(self, made: CorrectionRecord) -> CorrectionRecord:
        return self.service.undo(local_admin(), made.id, "that was right")

    def current(self, uid: str) -> pydicom.Dataset:
        return pydicom.dcmread(io.BytesIO(self.file(uid)))

    def file(self, uid: str) -> bytes:
        return self.node.file(self.node.catalogue.find_instance("main", uid))

    def in_study(self, study: str) -> set[str]:
        records = self.node.catalogue.list_instances(StudyRef("main", study))
        return {record.identity.sop_instance_uid for record in records}

    def frame_bytes(self) -> int:
        """How many contents are held: a correction adds headers."""
        return self.node.contents.stats().contents


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with open_node(tmp_path / "home") as node:
        service = CorrectionService(
            node.contents,
            node.catalogue,
            Corrections(node.catalogue),
            Freshness(),
            node.metrics,
            in_use=node.ingest.in_use,
        )
        yield Archive(node, service)


def patient(identifier: str, name: str = "Roe^Richard", issuer: str = "") -> Change:
    def change(ds: pydicom.Dataset) -> None:
        ds.PatientID, ds.PatientName, ds.PatientSex = identifier, name, "M"
        del ds.PatientBirthDate
        if issuer:
            ds.IssuerOfPatientID = issuer

    return change


async def test_a_study_is_corrected_and_put_back_byte_for_byte(archive: Archive) -> None:
    files = ct_series(3, study=STUDY)
    await archive.store(files)
    held = archive.frame_bytes()
    made = archive.correct("attributes", select={"study": STUDY}, set={"PatientName": "Doe^Janet"}, remove=["StudyID"])
    assert (made.action, made.principal, made.reason, made.instances) == (
        "attributes",
        "local_admin",
        "it was wrong",
        3,
    )
    assert archive.frame_bytes() == held + 3  # headers
    for file in files:
        ds, before = archive.current(instance_uid(file)), pydicom.dcmread(io.BytesIO(file))
        assert (ds.PatientName, "StudyID" in ds) == ("Doe^Janet", False)
        assert ds.PixelData == before.PixelData
        assert archive.node.versions(instance_uid(file))[0] == file
    undone = archive.undo(made)
    assert (undone.action, undone.undoes, undone.reason) == ("undo", made.id, "that was right")
    assert [archive.node.versions(instance_uid(file))[2] for file in files] == files
    assert [archive.file(instance_uid(file)) for file in files] == files
    assert archive.frame_bytes() == held + 3
    assert archive.node.metrics.value(CORRECTED_INSTANCES) == 6


async def test_one_instance_or_series_is_corrected_and_the_rest_is_not(archive: Archive) -> None:
    files = ct_series(2, study=STUDY) + ct_series(2, study=STUDY, series=2)
    await archive.store(files)
    uids = [instance_uid(file) for file in files]
    archive.correct("attributes", select={"study": STUDY, "instances": uids[0]}, set={"AccessionNumber": "A-7"})
    archive.correct(
        "attributes", select={"study": STUDY, "series": [f"{STUDY}.2"]}, set={"SeriesDescription": "Abdomen"}
    )
    found = [archive.current(uid) for uid in uids]
    assert [ds.AccessionNumber for ds in found] == ["A-7", "A-1", "A-1", "A-1"]
    assert [ds.SeriesDescription for ds in found] == ["Thorax 1.0 B50f"] * 2 + ["Abdomen"] * 2
    with pytest.raises(NotFound):
        archive.correct("delete", select={"study": STUDY, "series": ["1.9"]})


async def test_an_instance_that_says_so_already_gets_no_version(archive: Archive) -> None:
    await archive.store([*ct_series(2, study=STUDY, change=accession("A-2")), *ct_series(1, study=STUDY, series=2)])
    made = archive.correct("attributes", select={"study": STUDY}, set={"AccessionNumber": "A-2"})
    assert made.instances == 1
    with pytest.raises(Conflict, match="already"):
        archive.correct("attributes", select={"study": STUDY}, set={"AccessionNumber": "A-2"})


async def test_patients_are_merged_and_parted_again(archive: Archive) -> None:
    mine, theirs = ct_series(2, study=STUDY), ct_series(2, study=OTHER, change=patient("PID-2"))
    await archive.store(mine + theirs)
    made = archive.correct("merge", **{"from": {"id": "PID-1"}, "into": {"id": "PID-2"}})
    assert made.instances == 2
    ds = archive.current(instance_uid(mine[0]))
    assert (ds.PatientID, ds.PatientName, ds.PatientSex) == ("PID-2", "Roe^Richard", "M")
    assert "PatientBirthDate" not in ds  # the other one's is not known: this one's would be wrong
    assert archive.current(instance_uid(mine[0])).StudyInstanceUID == STUDY
    with pytest.raises(NotFound):
        archive.correct("merge", **{"from": {"id": "PID-1"}, "into": {"id": "PID-2"}})
    archive.undo(made)
    assert [archive.file(instance_uid(file)) for file in mine + theirs] == mine + theirs


async def test_a_patient_who_has_no_study_here_is_merged_into_by_name(archive: Archive) -> None:
    files = ct_series(1, study=STUDY)
    await archive.store(files)
    with pytest.raises(NotFound, match="attributes"):
        archive.correct("merge", **{"from": {"id": "PID-1"}, "into": {"id": "NEW"}})
    into = {"id": "NEW", "issuer": "HOSP", "attributes": {"PatientName": "Poe^Edgar", "PatientBirthDate": "18090119"}}
    archive.correct("merge", **{"from": {"id": "PID-1"}, "into": into})
    ds = archive.current(instance_uid(files[0]))
    assert (ds.PatientID, ds.IssuerOfPatientID, ds.PatientName) == ("NEW", "HOSP", "Poe^Edgar")
    assert ds.PatientBirthDate == "18090119"


async def test_one_identifier_of_two_issuers_is_two_patients(archive: Archive) -> None:
    ours = ct_series(1, study=STUDY, change=patient("7", "Roe^Ours", "OURS"))
    theirs = ct_series(1, study=OTHER, change=patient("7", "Poe^Theirs", "THEIRS"))
    await archive.store(ours + theirs)
    with pytest.raises(Conflict, match="2 issuers"):
        archive.correct("attributes", select={"patient": {"id": "7"}}, set={"PatientSex": "F"})
    made = archive.correct("attributes", select={"patient": {"id": "7", "issuer": "OURS"}}, set={"PatientSex": "F"})
    assert made.instances == 1
    assert (archive.current(instance_uid(ours[0])).PatientSex, archive.file(instance_uid(theirs[0]))) == (
        "F",
        theirs[0],
    )
    with pytest.raises(NotFound):
        archive.correct("delete", select={"patient": {"id": "7", "issuer": ""}})
    # An identifier that is somebody's is not given to another by the way.
    with pytest.raises(Conflict, match="merge"):
        archive.correct("attributes", select={"study": STUDY}, set={"IssuerOfPatientID": "THEIRS"})


async def test_instances_of_another_patient_in_the_same_study_are_left_alone(archive: Archive) -> None:
    files = [*ct_series(1, study=STUDY, change=patient("9")), *ct_series(1, study=STUDY, series=2)]
    for file in files:
        await archive.store([file])  # the study is found under the last one's patient
    assert archive.correct("attributes", select={"patient": {"id": "PID-1"}}, set={"PatientSex": "O"}).instances == 1
    assert archive.file(instance_uid(files[0])) == files[0]


async def test_a_series_moves_into_another_study_with_its_patient(archive: Archive) -> None:
    files = ct_series(2, study=STUDY) + ct_series(2, study=STUDY, series=2)
    there = ct_series(1, study=OTHER, change=patient("PID-2"))
    await archive.store(files + there)
    held, uids = archive.frame_bytes(), [instance_uid(file) for file in files]
    made = archive.correct("move", select={"study": STUDY, "series": f"{STUDY}.2"}, to={"study": OTHER})
    assert archive.in_study(STUDY) == set(uids[:2])
    assert archive.in_study(OTHER) == {*uids[2:], instance_uid(there[0])}
    ds = archive.current(uids[2])
    assert (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID) == (OTHER, f"{STUDY}.2", uids[2])
    assert (ds.PatientID, ds.PatientName, ds.KVP) == ("PID-2", "Roe^Richard", 120)
    assert archive.frame_bytes() == held + 2
    old = archive.node.catalogue.find_instance("main", uids[2], study_instance_uid=STUDY, version=1)
    assert archive.node.file(old) == files[2]
    archive.undo(made)
    assert [archive.file(uid) for uid in uids] == files
    assert archive.in_study(OTHER) == {instance_uid(there[0])}


async def test_part_of_a_series_becomes_a_study_of_its_own(archive: Archive) -> None:
    files = ct_series(3, study=STUDY)
    await archive.store(files)
    uids = [instance_uid(file) for file in files]
    archive.correct(
        "move", select={"study": STUDY, "instances": uids[:1]}, to={"study": OTHER}, set={"AccessionNumber": "A-9"}
    )
    ds = archive.current(uids[0])
    assert (ds.StudyInstanceUID, ds.AccessionNumber, ds.PatientID) == (OTHER, "A-9", "PID-1")
    assert ds.SeriesInstanceUID.startswith("2.25.")  # the series UID stays with what stays
    made = archive.correct("move", select={"study": STUDY, "series": f"{STUDY}.1"}, to={})
    assert archive.current(uids[1]).SeriesInstanceUID == f"{STUDY}.1"
    assert archive.in_study(STUDY) == set()
    assert len(archive.service.record.studies_touched("main", made.id)) == 2


async def test_a_study_goes_to_the_right_patient_and_stays_the_same_study(archive: Archive) -> None:
    files, there = ct_series(2, study=STUDY), ct_series(1, study=OTHER, change=patient("PID-2"))
    await archive.store(files + there)
    archive.correct("move", select={"study": STUDY}, to={"patient": {"id": "PID-2"}})
    assert {archive.current(instance_uid(file)).PatientID for file in files} == {"PID-2"}
    assert len(archive.in_study(STUDY)) == 2


async def test_what_is_deleted_stays_away_until_it_is_brought_back(archive: Archive) -> None:
    files = ct_series(2, study=STUDY)
    await archive.store(files)
    uid = instance_uid(files[0])
    made = archive.correct("delete", select={"study": STUDY, "instances": [uid]})
    assert archive.in_study(STUDY) == {instance_uid(files[1])}
    assert archive.node.versions(uid) == [files[0]]  # readable by its number
    for again in (files[0], edited(files[0], rename("Doe^Again"))):
        (stored,) = (await archive.store([again])).stored
        assert (stored.outcome, stored.warning_reason) == (Outcome.WITHDRAWN, WITHDRAWN)
    assert uid not in archive.in_study(STUDY)
    archive.undo(made)
    assert archive.file(uid) == files[0]
    assert len(archive.node.versions(uid)) == 3


async def test_a_resend_does_not_revert_and_revert_does(archive: Archive) -> None:
    """The revert by re-send: indistinguishable from a late copy, so it is asked for by name."""
    first = ct_series(1, study=STUDY)[0]
    second = edited(first, rename("Doe^Janet"))
    await archive.store([first])
    await archive.store([second])
    (stored,) = (await archive.store([first])).stored
    assert stored.outcome is Outcome.REPEATED
    uid = instance_uid(first)
    assert archive.current(uid).PatientName == "Doe^Janet"
    archive.correct("revert", instance=uid, version=1)
    assert archive.file(uid) == first
    with pytest.raises(NotFound):
        archive.correct("revert", instance=uid, version=9)


async def test_only_what_is_as_it_was_left_is_undone(archive: Archive) -> None:
    files = ct_series(2, study=STUDY)
    await archive.store(files)
    first = archive.correct("attributes", select={"study": STUDY}, set={"StudyID": "2"})
    second = archive.correct("attributes", select={"study": STUDY}, set={"StudyID": "3"})
    with pytest.raises(Conflict, match="2 of its instances"):
        archive.undo(first)
    archive.undo(second)
    archive.undo(first)
    assert [archive.file(instance_uid(file)) for file in files] == files
    with pytest.raises(Conflict, match="undone already"):
        archive.undo(first)


async def test_an_undoing_is_undone_too(archive: Archive) -> None:
    files = ct_series(1, study=STUDY)
    await archive.store(files)
    made = archive.correct("delete", select={"study": STUDY})
    back = archive.undo(made)
    archive.undo(back)
    assert archive.in_study(STUDY) == set()
    record = archive.service.record
    assert record.find("main", made.id).undone_by is None
    archive.undo(made)
    assert archive.file(instance_uid(files[0])) == files[0]


async def test_a_correction_that_is_overtaken_begins_again(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ct_series(1, study=STUDY)
    await archive.store(files)
    make, late = archive.service.record.make, edited(files[0], rename("Doe^Late"))
    calls = 0

    def overtaken(new: Any, revisions: Any, durable: Any) -> CorrectionRecord | None:
        nonlocal calls
        calls += 1
        revisions = list(revisions)
        if calls == 1:
            revisions = [replace(one, based_on=one.based_on + 1) for one in revisions]
        return make(new, revisions, durable)

    monkeypatch.setattr(archive.service.record, "make", overtaken)
    await archive.store([late])
    archive.correct("attributes", select={"study": STUDY}, set={"StudyID": "2"})
    assert (calls, archive.current(instance_uid(late)).PatientName) == (2, "Doe^Late")


async def test_what_a_session_may_not_reach_is_not_corrected(archive: Archive) -> None:
    await archive.store(ct_series(1, study=STUDY))
    ctx = replace(local_admin(), scope=Scope(frozenset({OTHER})))
    asked = read_asked({"action": "delete", "reason": "x", "select": {"study": STUDY}})
    with pytest.raises(AccessError):
        archive.service.make(ctx, asked)


async def test_the_record_says_who_what_and_why(archive: Archive) -> None:
    files = ct_series(2, study=STUDY)
    await archive.store(files + ct_series(1, study=OTHER))
    made = archive.correct("attributes", select={"study": STUDY}, set={"StudyID": "2"})
    other = archive.correct("delete", select={"study": OTHER})
    record = archive.service.record
    assert [one.id for one in record.latest("main")] == [other.id, made.id]
    assert [one.id for one in record.latest("main", study_instance_uid=STUDY)] == [made.id]
    assert [one.id for one in record.latest("main", before=other.id, limit=1)] == [made.id]
    assert made.detail == {"select": {"study": STUDY}, "set": {"StudyID": "2"}}
    changed = record.instances("main", made.id)
    assert {(one.study_instance_uid, one.before, one.after) for one in changed} == {(STUDY, 1, 2)}
    (gone,) = record.instances("main", other.id)
    assert (gone.before, gone.after) == (1, None)
    assert record.latest("another tenant") == []
    with pytest.raises(NotFound):
        record.find("another tenant", made.id)


async def test_a_corrected_version_looks_as_before_without_being_looked_at(archive: Archive) -> None:
    await archive.store(ct_series(2, study=STUDY))
    node = archive.node
    run_until_idle(node, PerceptualHashes(node.catalogue, node.contents))
    archive.correct("attributes", select={"study": STUDY}, set={"StudyID": "2"})
    hashes = node.catalogue.hashes(StudyRef("main", STUDY))
    assert [(row.version, len(row.hash)) for row in hashes] == [(2, HASH_BYTES)] * 2
    run_until_idle(node, PerceptualHashes(node.catalogue, node.contents))
    assert node.metrics.value(BACKGROUND_INSTANCES, consumer="perceptual", result="done") == 2
