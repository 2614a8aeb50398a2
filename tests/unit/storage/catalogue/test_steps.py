"""Scheduled and performed procedure steps, on every database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from nearframe.clock import ManualClock
from nearframe.errors import Busy, LimitExceeded
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.room import Room
from nearframe.storage.catalogue.steps import MAX_STEP_BYTES, PerformedStep, ScheduledStep, Steps

NOW = ManualClock().now()
STEP = PerformedStep("1.2.9", "IN PROGRESS", "CT", {"00400252": {"vr": "CS", "Value": ["IN PROGRESS"]}})


def scheduled(number: int, date: str = "20261122") -> ScheduledStep:
    return ScheduledStep(f"S{number:04}", date, "0800", {"00400009": {"vr": "SH", "Value": [f"S{number:04}"]}})


def test_a_performed_step_is_made_once_and_changed(catalogue: SQLCatalogue) -> None:
    steps = Steps(catalogue.database)
    assert steps.create("main", STEP, NOW)
    assert not steps.create("main", STEP, NOW)
    assert steps.performed("main", "1.2.9") == STEP
    done = steps.change("main", "1.2.9", lambda step: replace(step, state="COMPLETED"), NOW)
    assert done == replace(STEP, state="COMPLETED") == steps.performed("main", "1.2.9")
    assert steps.change("other", "1.2.9", lambda step: step, NOW) is None


def test_a_change_that_fails_changes_nothing(catalogue: SQLCatalogue) -> None:
    steps = Steps(catalogue.database)
    steps.create("main", STEP, NOW)

    def fail(step: PerformedStep) -> PerformedStep:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        steps.change("main", "1.2.9", fail, NOW)
    assert steps.performed("main", "1.2.9") == STEP


def larger(step: PerformedStep, size: int) -> PerformedStep:
    return replace(
        step, attributes={**step.attributes, f"0040{size % 0xFFFF:04X}": {"vr": "LT", "Value": ["x" * size]}}
    )


def test_a_step_does_not_grow_without_end(catalogue: SQLCatalogue) -> None:
    steps = Steps(catalogue.database)
    steps.create("main", STEP, NOW)
    for size in (MAX_STEP_BYTES // 2, MAX_STEP_BYTES // 3):
        steps.change("main", "1.2.9", lambda step, size=size: larger(step, size), NOW)  # type: ignore[misc]
    before = steps.performed("main", "1.2.9")
    with pytest.raises(LimitExceeded, match="bytes of a performed procedure step"):
        steps.change("main", "1.2.9", lambda step: larger(step, MAX_STEP_BYTES // 4), NOW)
    assert steps.performed("main", "1.2.9") == before
    with pytest.raises(LimitExceeded):
        steps.create("main", larger(replace(STEP, sop_instance_uid="1.2.10"), MAX_STEP_BYTES), NOW)


def test_there_is_room_for_so_many_steps(catalogue: SQLCatalogue) -> None:
    steps = Steps(catalogue.database, Room(rows=4, document_bytes=2000))
    for number in (1, 2):
        steps.create("main", replace(STEP, sop_instance_uid=f"1.2.{number}"), NOW)
    third = replace(STEP, sop_instance_uid="1.2.3")
    with pytest.raises(Busy, match="in progress"):
        steps.create("main", third, NOW)
    with pytest.raises(Busy):
        steps.change("main", "1.2.2", lambda step: larger(step, 1000), NOW)
    steps.change("main", "1.2.2", lambda step: replace(step, state="COMPLETED"), NOW)
    steps.create("main", third, NOW)
    assert [steps.performed("main", f"1.2.{number}") is None for number in (1, 2, 3)] == [False, True, False]


def test_steps_of_which_nothing_was_heard_for_long_make_room(catalogue: SQLCatalogue) -> None:
    steps = Steps(catalogue.database, Room(rows=2))
    steps.create("main", STEP, NOW)
    steps.create("main", replace(STEP, sop_instance_uid="1.2.10"), NOW + timedelta(days=31))
    assert steps.performed("main", "1.2.9") is None


def test_the_worklist_in_the_order_of_its_days(catalogue: SQLCatalogue) -> None:
    steps = Steps(catalogue.database)
    steps.schedule("main", [scheduled(2, "20261123"), scheduled(1), scheduled(3, "20261124")], NOW)
    assert [step.step_id for step in steps.every_scheduled("main")] == ["S0001", "S0002", "S0003"]
    assert [step.step_id for step in steps.scheduled("main", "20261123", "20261123")] == ["S0002"]
    assert steps.mark("main", ["S0002", "S0009"], "COMPLETED", NOW) == 1
    assert [step.state for step in steps.scheduled("main")] == ["", "COMPLETED", ""]
    steps.schedule("main", [scheduled(2, "20261125")], NOW)
    assert [step.step_id for step in steps.scheduled("main")] == ["S0001", "S0003", "S0002"]
    assert steps.unschedule("main", "S0002")
    assert not steps.unschedule("main", "S0002")
    assert steps.scheduled("other") == []


def test_a_long_worklist_comes_in_pages(catalogue: SQLCatalogue) -> None:
    steps = Steps(catalogue.database)
    steps.schedule("main", [scheduled(number) for number in range(1001)], NOW)
    assert len(steps.scheduled("main")) == 500
    assert [step.step_id for step in steps.every_scheduled("main")] == [f"S{number:04}" for number in range(1001)]
