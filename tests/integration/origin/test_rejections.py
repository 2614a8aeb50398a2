"""Rejection notes are honoured in the transaction that stores them (IHE RAD-66)."""

from __future__ import annotations

import pytest

from bench.rejection import KEY_OBJECT_SELECTION, note
from nearframe.context import local_admin
from nearframe.query.commitment import CommitmentService
from nearframe.storage.catalogue.commitments import Commitments
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.ports import CorrectionRecord, NewCorrection, Outcome, StudyRef
from tests.integration.origin.conftest import Node
from tests.syncing import CT_IMAGE, RECEIVED_AT, ct_series, edited, instance_uid, rename

STUDY = "1.2.826.6.1"
NOTE = "1.2.826.6.9"
FILES = ct_series(3, study=STUDY)
UIDS = [instance_uid(file) for file in FILES]


def shown(node: Node) -> set[str]:
    return {one.identity.sop_instance_uid for one in node.catalogue.list_instances(StudyRef("main", STUDY))}


def latest(node: Node) -> CorrectionRecord:
    return Corrections(node.catalogue).latest("main")[0]


async def outcome_of(node: Node, file: bytes) -> Outcome:
    (stored,) = (await node.store(file)).stored
    return stored.outcome


@pytest.mark.parametrize("code", ["113001", "113037", "113038", "113039"])
async def test_what_a_note_names_goes_out_of_view_with_the_note(node: Node, code: str) -> None:
    await node.store(*FILES)
    assert await outcome_of(node, note(FILES[:2], code, NOTE)) is Outcome.CREATED
    assert shown(node) == {UIDS[2]}
    made = latest(node)
    assert (made.action, made.instances, made.detail) == ("reject", 3, {"note": NOTE, "code": code})
    assert made.principal == "stow local_admin"
    new = NewCorrection("main", "undo", "local_admin", "they were right", RECEIVED_AT, {})
    Corrections(node.catalogue).undo(made.id, new)
    assert shown(node) == {*UIDS, NOTE}
    assert [node.file(node.catalogue.find_instance("main", uid)) for uid in UIDS] == FILES


async def test_what_was_rejected_stays_away_when_it_is_sent_again(node: Node) -> None:
    await node.store(*FILES)
    await node.store(note(FILES[:1], "113037", NOTE))
    assert await outcome_of(node, FILES[0]) is Outcome.WITHDRAWN
    assert await outcome_of(node, edited(FILES[0], rename("Doe^Again"))) is Outcome.WITHDRAWN
    assert await outcome_of(node, note(FILES[:1], "113037", NOTE)) is Outcome.WITHDRAWN
    assert shown(node) == set(UIDS[1:])


async def test_what_was_kept_long_enough_may_come_again(node: Node) -> None:
    await node.store(*FILES)
    await node.store(note(FILES[:1], "113039", NOTE))
    assert await outcome_of(node, FILES[0]) is Outcome.CREATED
    assert shown(node) == set(UIDS)


async def test_a_note_that_comes_first_waits_for_what_it_names(node: Node) -> None:
    await node.store(note(FILES[:1], "113001", NOTE))
    await node.store(*FILES)
    assert shown(node) == set(UIDS[1:])
    new = NewCorrection("main", "undo", "local_admin", "it was right", RECEIVED_AT, {})
    Corrections(node.catalogue).undo(latest(node).id, new)
    assert shown(node) == {*UIDS, NOTE}


async def test_a_note_that_names_something_else_does_nothing(node: Node) -> None:
    elsewhere = ct_series(3, study="1.2.826.6.2")
    await node.store(*FILES)
    wrong = edited(note(FILES[:1], "113001", NOTE), _of_another_study)
    await node.store(wrong, note(FILES[:1], "113000", f"{NOTE}.2"))
    assert shown(node) >= set(UIDS)
    await node.store(note(elsewhere[:1], "113001", f"{NOTE}.3"), tenant="other")
    assert shown(node) >= set(UIDS)


def _of_another_study(ds: object) -> None:
    ds.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = "1.2.3"  # type: ignore[attr-defined]


async def test_what_is_out_of_view_is_committed_to_all_the_same(node: Node) -> None:
    await node.store(*FILES)
    await node.store(note(FILES[:1], "113001", NOTE))
    service = CommitmentService(node.catalogue, Commitments(node.catalogue.database))
    asked = [(KEY_OBJECT_SELECTION, NOTE), (CT_IMAGE, UIDS[0]), (CT_IMAGE, UIDS[1]), (CT_IMAGE, "1.2.3")]
    items = [
        {"00081150": {"vr": "UI", "Value": [str(kind)]}, "00081155": {"vr": "UI", "Value": [uid]}}
        for kind, uid in asked
    ]
    request = {"00081195": {"vr": "UI", "Value": ["1.2.4"]}, "00081199": {"vr": "SQ", "Value": items}}
    verdict = service.judge(service.ask(local_admin(), "", request))
    assert [uid for _, uid in verdict.kept] == [NOTE, *UIDS[:2]]
    assert [uid for _, uid, _ in verdict.failed] == ["1.2.3"]
