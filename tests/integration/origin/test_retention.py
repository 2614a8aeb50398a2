"""Retention on real objects: judged, deleted with a record, brought back, kept by holds, and never in doubt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nearframe.clock import Clock, ManualClock, SystemClock
from nearframe.context import Scope, local_admin
from nearframe.corrections.asked import Patient
from nearframe.corrections.holding import HoldService
from nearframe.corrections.service import CorrectionService
from nearframe.errors import AccessError, Refused
from nearframe.query.freshness import Freshness
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.catalogue.expiring import Expiring
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.ports import Outcome, StudyRef
from nearframe.upkeep.retention import service as retention
from nearframe.upkeep.retention.http import retention_round
from nearframe.upkeep.retention.rules import read_rules
from nearframe.upkeep.retention.service import RetentionService
from tests.integration.origin.conftest import Node, open_node
from tests.syncing import Change, ct_series

RULES = [
    {"name": "CT", "keep_years": 10, "until_age": 28, "action": "delete", "Modality": "CT"},
    {"name": "MR", "keep_years": 5, "Modality": "MR"},
]


def dated(study_date: str, patient: str = "PID-1", **more: str) -> Change:
    def change(ds: Any) -> None:
        ds.StudyDate, ds.PatientID = study_date, patient
        for keyword, value in more.items():
            setattr(ds, keyword, value)

    return change


@dataclass
class Archive:
    node: Node
    clock: ManualClock
    corrections: CorrectionService
    holds: HoldService

    def service(self, rules: list[dict[str, Any]] = RULES, clock: Clock | None = None) -> RetentionService:
        studies = Expiring(self.node.catalogue)
        return RetentionService(read_rules(rules), studies, self.corrections, clock=clock or self.clock)

    async def store(self, number: int, change: Change) -> list[bytes]:
        files = ct_series(2, study=f"1.2.826.8.{number}", seed=number, change=change)
        assert not (await self.node.store(*files)).failed
        return files

    def shown(self, number: int) -> list[bytes]:
        records = self.node.catalogue.list_instances(StudyRef("main", f"1.2.826.8.{number}"))
        return [self.node.file(record) for record in records]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with open_node(tmp_path / "home") as node:
        clock = ManualClock(datetime(2040, 1, 1, tzinfo=UTC))  # long after anything was received
        record = Corrections(node.catalogue)
        corrections = CorrectionService(
            node.contents, node.catalogue, record, Freshness(), node.metrics, clock=clock, in_use=node.ingest.in_use
        )
        yield Archive(node, clock, corrections, HoldService(Holds(node.catalogue), record, clock=clock))


async def test_what_is_due_is_deleted_with_a_record_and_may_come_again(archive: Archive) -> None:
    old = await archive.store(1, dated("20290101"))
    await archive.store(2, dated("20310101"))
    await archive.store(3, dated("20290101", PatientBirthDate="20250101"))
    await archive.store(4, dated("20200101", Modality="MR"))
    await archive.store(5, dated(""))
    await archive.store(6, dated("20200101", Modality="US"))
    service = archive.service()
    plan = service.plan(local_admin())
    assert plan.studies == 6
    assert plan.counts == {"due": 2, "kept": 2, "cannot_judge": 1, "no_rule": 1}
    assert plan.deletable == 1  # the rule for MR reports
    assert archive.shown(1) == old
    applied = service.apply(local_admin(), is_bounded=False)
    assert (len(applied.corrections), applied.failed) == (1, [])
    made = archive.corrections.record.find("main", applied.corrections[0])
    assert (made.action, made.principal, made.instances) == ("retention", "local_admin", 2)
    assert made.reason == "kept until 2039-01-01 by CT"
    assert made.detail == {"study": "1.2.826.8.1", "until": "2039-01-01", "rules": ["CT"]}
    assert [len(archive.shown(number)) for number in range(1, 7)] == [0, 2, 2, 2, 2, 2]
    archive.corrections.undo(local_admin(), made.id, "a lawyer asked")
    assert archive.shown(1) == old
    assert service.apply(local_admin(), is_bounded=False).corrections == []  # somebody has just brought it back
    archive.clock.advance(31 * 86400)
    service.apply(local_admin(), is_bounded=False)
    assert archive.shown(1) == []
    stored = (await archive.node.store(*old)).stored
    assert {one.outcome for one in stored} == {Outcome.CREATED}


async def test_what_is_on_hold_or_just_came_stays(archive: Archive) -> None:
    await archive.store(1, dated("20290101"))
    hold = archive.holds.place(local_admin(), Patient("PID-1"), "case 12")
    service = archive.service()
    assert service.plan(local_admin()).counts == {"on_hold": 1}
    assert service.apply(local_admin(), is_bounded=False).corrections == []
    archive.holds.release(local_admin(), hold.id, "settled")
    await archive.store(2, dated("20010101"))
    rules = [{"keep_years": 1, "action": "delete"}]
    assert archive.service(rules, SystemClock()).plan(local_admin()).counts["just_came"] == 1


async def test_the_latest_study_of_the_patient_may_count(archive: Archive) -> None:
    await archive.store(1, dated("20200101"))
    await archive.store(2, dated("20350101"))
    await archive.store(3, dated("20200101", "PID-2"))
    await archive.store(4, dated("", "PID-2"))
    await archive.store(5, dated("20200101", ""))
    await archive.store(6, dated("20200101", "PID-3"))
    await archive.store(7, dated("19000101", "PID-3"))
    rules = [{"keep_years": 10, "action": "delete", "counts_from": "last_study"}]
    assert archive.service(rules).plan(local_admin()).counts == {"kept": 2, "cannot_judge": 5}


async def test_by_itself_it_deletes_little(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MAX_STUDIES", 1)
    for number in (1, 2):
        await archive.store(number, dated("20200101"))
    round_ = retention_round(archive.service())
    with pytest.raises(Refused, match=r"too many to be deleted unasked \(2\)"):
        round_.run(lambda _: None)
    assert [len(archive.shown(number)) for number in (1, 2)] == [2, 2]
    archive.service().apply(local_admin(), is_bounded=False)
    assert [len(archive.shown(number)) for number in (1, 2)] == [0, 0]
    assert "no studies" not in round_.run(lambda _: None)


async def test_it_takes_a_session_that_reaches_everything(archive: Archive) -> None:
    with pytest.raises(AccessError):
        archive.service().plan(replace(local_admin(), scope=Scope(frozenset({"1.2"}))))
