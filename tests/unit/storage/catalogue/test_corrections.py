"""Corrections in the catalogue: one transaction each, on every database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nearframe.errors import BackendFailed, Conflict, NotFound
from nearframe.ids import Identity
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.ports import CorrectedInstance, NewCorrection, NewVersion, Outcome, PatientStudy, Revision
from tests.unit.storage.catalogue.objects import RECEIVED, identity, study_ref, version
from tests.unit.storage.catalogue.test_derived import hashes_of


def new(action: str = "attributes", tenant: str = "main") -> NewCorrection:
    return NewCorrection(tenant, action, "somebody", "it was wrong", RECEIVED, {"asked": "this"})


def renamed(uids: Identity, **changes: Any) -> NewVersion:
    return version(uids, **({"t00100010": "Doe^Janet"} | changes))


@pytest.fixture
def corrections(catalogue: SQLCatalogue) -> Corrections:
    return Corrections(catalogue)


def test_a_correction_is_made_undone_and_told(catalogue: SQLCatalogue, corrections: Corrections) -> None:
    one, two = identity(instance=1), identity(instance=2)
    catalogue.record([version(one), version(two)])
    before = catalogue.list_instances(study_ref())
    revisions = [Revision(uids.sop_instance_uid, 1, renamed(uids)) for uids in (one, two)]
    made = corrections.make(new(), iter(revisions))
    assert made is not None
    assert (made.action, made.principal, made.reason, made.instances) == ("attributes", "somebody", "it was wrong", 2)
    assert (made.made_at, made.detail, made.undoes, made.undone_by) == (RECEIVED, {"asked": "this"}, None, None)
    assert [record.version for record in catalogue.list_instances(study_ref())] == [2, 2]
    assert corrections.instances("main", made.id) == [
        CorrectedInstance(uids.study_instance_uid, uids.sop_instance_uid, 1, 2) for uids in (one, two)
    ]
    undone = corrections.undo(made.id, new("undo"))
    assert (undone.undoes, corrections.find("main", made.id).undone_by) == (made.id, undone.id)
    after = catalogue.list_instances(study_ref())
    assert [record.version for record in after] == [3, 3]
    assert [(one.hdr, one.file, one.frames) for one in after] == [(one.hdr, one.file, one.frames) for one in before]
    assert corrections.of_instance("main", one.sop_instance_uid) == {2: corrections.find("main", made.id), 3: undone}
    assert corrections.studies_touched("main", made.id) == [study_ref()]


def test_every_state_stays_known_by_its_sequence(catalogue: SQLCatalogue, corrections: Corrections) -> None:
    catalogue.record([version()])
    first = catalogue.state(study_ref())
    made = corrections.make(new(), [Revision(identity().sop_instance_uid, 1, renamed(identity()))])
    assert made is not None
    second = catalogue.state(study_ref())
    corrections.undo(made.id, new("undo"))
    at = [catalogue.list_instances(study_ref(), at_seq=seq) for seq in (first, second, catalogue.state(study_ref()))]
    assert [[one.version for one in state] for state in at] == [[1], [2], [3]]


def test_what_is_not_as_said_is_left_alone(catalogue: SQLCatalogue, corrections: Corrections) -> None:
    one, two = identity(instance=1), identity(instance=2)
    catalogue.record([version(one), version(two)])
    head = catalogue.head()
    stale = [Revision(one.sop_instance_uid, 1, renamed(one)), Revision(two.sop_instance_uid, 2, renamed(two))]
    assert corrections.make(new(), stale) is None
    with pytest.raises(NotFound):
        corrections.make(new(), [Revision("1.2.404", 1, None)])
    with pytest.raises(Conflict):
        corrections.make(new(), [])
    assert (catalogue.head(), corrections.latest("main")) == (head, [])


def test_nothing_is_recorded_of_what_is_not_durable(catalogue: SQLCatalogue, corrections: Corrections) -> None:
    catalogue.record([version()])

    def lost() -> None:
        raise BackendFailed("the disk lost it")

    revision = Revision(identity().sop_instance_uid, 1, renamed(identity()))
    head = catalogue.head()
    with pytest.raises(BackendFailed):
        corrections.make(new(), [revision], lost)
    assert (catalogue.head(), corrections.latest("main")) == (head, [])
    assert catalogue.find_instance("main", identity().sop_instance_uid).version == 1
    assert corrections.make(new(), [revision]) is not None


def test_what_is_withdrawn_stays_away_and_is_kept(catalogue: SQLCatalogue, corrections: Corrections) -> None:
    uid = identity().sop_instance_uid
    catalogue.record([version()])
    made = corrections.make(new("delete"), [Revision(uid, 1, None)])
    assert made is not None
    assert catalogue.list_instances(study_ref()) == []
    recorded = catalogue.record([version(), version(header="another")])
    assert [(one.outcome, one.version, one.seq) for one in recorded] == [
        (Outcome.WITHDRAWN, 1, 0),
        (Outcome.WITHDRAWN, 2, 0),
    ]
    assert [one.version for one in catalogue.list_versions("main", uid)] == [1, 2]
    corrections.undo(made.id, new("undo"))
    assert catalogue.find_instance("main", uid).file == version().file
    assert catalogue.record([version(header="a third")])[0].outcome is Outcome.REVISED


def test_a_move_changes_both_studies(catalogue: SQLCatalogue, corrections: Corrections) -> None:
    there = replace(identity(), study_instance_uid=identity(2).study_instance_uid)
    catalogue.record([version(), version(identity(2))])
    made = corrections.make(new("move"), [Revision(identity().sop_instance_uid, 1, renamed(there))])
    assert made is not None
    with pytest.raises(NotFound):
        catalogue.state(study_ref(1))
    assert len(catalogue.list_instances(study_ref(2))) == 2
    assert corrections.studies_touched("main", made.id) == [study_ref(1), study_ref(2)]
    for study in (1, 2):
        assert corrections.latest("main", study_instance_uid=study_ref(study).study_instance_uid) == [made]
    corrections.undo(made.id, new("undo"))
    assert [len(catalogue.list_instances(study_ref(study))) for study in (1, 2)] == [1, 1]


def test_hashes_go_with_the_frames(catalogue: SQLCatalogue, corrections: Corrections) -> None:
    uids, uid = identity(), identity().sop_instance_uid
    catalogue.record([version()])
    catalogue.add_hashes(hashes_of(uids, version().frames))
    assert not catalogue.is_hashed("main", uid, 2)
    corrections.make(new(), [Revision(uid, 1, renamed(uids))])
    assert catalogue.is_hashed("main", uid, 2)
    assert catalogue.hashes(study_ref()) == hashes_of(uids, version().frames, 2)


def test_the_studies_of_an_identifier_say_who_issued_it(catalogue: SQLCatalogue, corrections: Corrections) -> None:
    catalogue.record([version(identity(1)), version(identity(2), t00100021="HOSPITAL")])
    catalogue.record([version(identity(3), t00100020="P2"), version(identity(4), tenant="other")])
    assert corrections.studies_of_patient("main", "P1") == [
        PatientStudy(identity(1).study_instance_uid, ""),
        PatientStudy(identity(2).study_instance_uid, "HOSPITAL"),
    ]


def test_another_tenant_sees_and_undoes_nothing(catalogue: SQLCatalogue, corrections: Corrections) -> None:
    catalogue.record([version()])
    made = corrections.make(new(), [Revision(identity().sop_instance_uid, 1, renamed(identity()))])
    assert made is not None
    with pytest.raises(NotFound):
        corrections.undo(made.id, new("undo", tenant="other"))
    with pytest.raises(NotFound):
        corrections.instances("other", made.id)
    assert corrections.studies_touched("other", made.id) == []
