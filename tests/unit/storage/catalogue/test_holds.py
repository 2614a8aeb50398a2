"""Legal holds: whatever changes the catalogue, what is held stays in view, where it is and whose it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nearframe.errors import Conflict, NotFound, OnHold
from nearframe.ids import Identity
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.ports import (
    Held,
    HoldRecord,
    NewCorrection,
    NewHold,
    NewVersion,
    Outcome,
    Release,
    Revision,
)
from tests.unit.storage.catalogue.objects import RECEIVED, frame_table, identity, study_ref, version

STUDY = Held(study_instance_uid="1.2.1")
PATIENT = Held(patient_id="P1")


@pytest.fixture
def holds(catalogue: SQLCatalogue) -> Holds:
    return Holds(catalogue)


@pytest.fixture
def corrections(catalogue: SQLCatalogue) -> Corrections:
    return Corrections(catalogue)


def place(holds: Holds, held: Held = STUDY, tenant: str = "main") -> HoldRecord:
    return holds.place(NewHold(tenant, held, "counsel", "case 12", RECEIVED))


def release(holds: Holds, hold: HoldRecord) -> HoldRecord:
    return holds.release(hold.tenant, hold.id, Release("counsel", "settled", RECEIVED))


def correct(corrections: Corrections, becomes: NewVersion | int | None, uids: Identity | None = None) -> int:
    asked = NewCorrection("main", "attributes", "somebody", "it was wrong", RECEIVED, {})
    made = corrections.make(asked, [Revision((uids or identity()).sop_instance_uid, 1, becomes)])
    assert made is not None
    return made.id


def test_a_hold_is_placed_released_and_told(catalogue: SQLCatalogue, holds: Holds) -> None:
    catalogue.record([version(), version(identity(2))])
    placed = place(holds)
    assert (placed.held, placed.principal, placed.reason, placed.studies) == (STUDY, "counsel", "case 12", 1)
    assert placed.release is None
    assert holds.latest("main") == holds.latest("main", study_instance_uid="1.2.1") == [placed]
    assert holds.latest("main", study_instance_uid="1.2.2") == holds.latest("other") == []
    released = release(holds, placed)
    assert released.release == Release("counsel", "settled", RECEIVED)
    assert holds.latest("main") == []
    assert holds.latest("main", open_only=False) == [released]
    with pytest.raises(Conflict, match="already"):
        release(holds, placed)


@pytest.mark.parametrize("held", [Held(study_instance_uid="1.2.404"), Held(patient_id="P1", issuer="ELSEWHERE")])
def test_what_is_not_stored_cannot_be_held(catalogue: SQLCatalogue, holds: Holds, held: Held) -> None:
    catalogue.record([version()])
    with pytest.raises(NotFound):
        place(holds, held)
    with pytest.raises(NotFound):
        place(holds, STUDY, tenant="other")


@pytest.mark.parametrize("held", [STUDY, PATIENT])
def test_nothing_takes_it_out_of_view(
    catalogue: SQLCatalogue, holds: Holds, corrections: Corrections, held: Held
) -> None:
    catalogue.record([version()])
    hold = place(holds, held)
    elsewhere = version(replace(identity(), study_instance_uid="1.2.2"))
    before = catalogue.list_instances(study_ref())
    for becomes in (None, elsewhere, version(t00100020="P2"), version(t00100021="ANOTHER")):
        with pytest.raises(OnHold) as refused:
            correct(corrections, becomes)
        assert refused.value.holds == (hold.id,)
    with pytest.raises(OnHold):
        catalogue.delete(study_ref(), None, None)
    assert catalogue.list_instances(study_ref()) == before
    assert corrections.latest("main") == []
    release(holds, hold)
    correct(corrections, None)
    assert catalogue.list_instances(study_ref()) == []


def test_it_is_still_corrected_and_added_to(catalogue: SQLCatalogue, holds: Holds, corrections: Corrections) -> None:
    catalogue.record([version()])
    place(holds, PATIENT)
    made = correct(corrections, version(t00100010="Doe^Janet"))
    corrections.undo(made, NewCorrection("main", "undo", "somebody", "it was right", RECEIVED, {}))
    assert catalogue.record([version(identity(1, 1, 2))])[0].outcome is Outcome.CREATED
    assert catalogue.record([version(header="a resend")])[0].outcome is Outcome.REVISED
    assert len(catalogue.list_instances(study_ref())) == 2


def test_undoing_takes_nothing_away_either(catalogue: SQLCatalogue, holds: Holds, corrections: Corrections) -> None:
    catalogue.record([version()])
    made = correct(corrections, version(replace(identity(), study_instance_uid="1.2.2")))
    place(holds, Held(study_instance_uid="1.2.2"))
    with pytest.raises(OnHold):
        corrections.undo(made, NewCorrection("main", "undo", "somebody", "it was right", RECEIVED, {}))
    assert len(catalogue.list_instances(study_ref(2))) == 1


@pytest.mark.parametrize("resent", [version(t00100020="P2"), version(replace(identity(), study_instance_uid="1.2.2"))])
def test_a_resend_that_would_take_it_away_is_a_conflict(
    catalogue: SQLCatalogue, holds: Holds, resent: NewVersion
) -> None:
    catalogue.record([version()])
    hold = place(holds)
    (recorded,) = catalogue.record([resent])
    assert recorded.outcome is Outcome.CONFLICTING
    (conflict,) = catalogue.conflicts("main")
    with pytest.raises(OnHold):
        catalogue.resolve_conflict(conflict.id, "incoming", "somebody")
    assert catalogue.find_instance("main", identity().sop_instance_uid).version == 1
    release(holds, hold)
    catalogue.resolve_conflict(conflict.id, "incoming", "somebody")
    assert catalogue.find_instance("main", identity().sop_instance_uid).version == 2


def test_studies_that_come_to_name_the_patient_are_kept_too(
    catalogue: SQLCatalogue, holds: Holds, corrections: Corrections
) -> None:
    catalogue.record([version(), version(identity(3), t00100020="P3"), version(identity(4), tenant="other")])
    hold = place(holds, PATIENT)
    catalogue.record([version(identity(2))])
    correct(corrections, version(identity(3)), identity(3))  # P3 is merged into P1
    assert holds.studies("main", hold.id) == [study_ref(1), study_ref(2), study_ref(3)]
    for study in (1, 2, 3):
        with pytest.raises(OnHold):
            catalogue.delete(study_ref(study), None, None)
    catalogue.delete(study_ref(4, "other"), None, None)


def test_what_comes_under_another_name_does_not_free_the_study(catalogue: SQLCatalogue, holds: Holds) -> None:
    catalogue.record([version()])
    place(holds, PATIENT)
    catalogue.record([version(identity(1, 1, 2), t00100020="P2")])
    with pytest.raises(OnHold):
        catalogue.delete(study_ref(), None, None)
    assert catalogue.record([version(header="a resend")])[0].outcome is Outcome.REVISED


def test_what_is_deleted_already_can_be_held(catalogue: SQLCatalogue, holds: Holds, corrections: Corrections) -> None:
    catalogue.record([version()])
    correct(corrections, None)
    assert place(holds, STUDY).studies == place(holds, PATIENT).studies == 1
    catalogue.record([version(identity(1, 1, 2))])
    with pytest.raises(OnHold):
        catalogue.delete(study_ref(), None, None)


def test_every_hold_has_to_be_released(catalogue: SQLCatalogue, holds: Holds) -> None:
    catalogue.record([version(frames=frame_table("one"))])
    first, second = place(holds), place(holds, PATIENT)
    with pytest.raises(OnHold, match=f"{first.id}, {second.id}"):
        catalogue.delete(study_ref(), None, None)
    release(holds, first)
    with pytest.raises(OnHold):
        catalogue.delete(study_ref(), None, None)
    release(holds, second)
    catalogue.delete(study_ref(), None, None)
