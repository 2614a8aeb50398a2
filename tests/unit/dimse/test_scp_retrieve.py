"""How a retrieval is counted."""

from __future__ import annotations

import pytest

from nearframe.dimse.command import Command, CommandField, Field
from nearframe.dimse.scp_retrieve import _Count
from nearframe.dimse.status import Status


def test_more_than_a_count_can_say() -> None:
    asked = Command.request(CommandField.C_MOVE_RQ, 1, {}, has_data=True)
    fields = _Count(remaining=100_000, completed=70_000).fields(is_over=False)
    told = Command.decode(asked.answer(Status.PENDING, fields).encode())
    assert told.number(Field.REMAINING_SUBOPERATIONS) == told.number(Field.COMPLETED_SUBOPERATIONS) == 0xFFFF


@pytest.mark.parametrize(
    ("completed", "warnings", "failed", "status"),
    [
        (0, 0, 0, Status.SUCCESS),
        (2, 0, 0, Status.SUCCESS),
        (2, 1, 0, Status.SUBOPERATIONS_FAILED),
        (0, 1, 0, Status.SUBOPERATIONS_FAILED),
        (2, 0, 1, Status.SUBOPERATIONS_FAILED),
        (0, 0, 1, Status.UNABLE_TO_PERFORM),
    ],
)
def test_how_it_ends(completed: int, warnings: int, failed: int, status: Status) -> None:
    assert _Count(0, completed, warnings, ["1.2.3"] * failed).status is status


def test_what_stood_in_the_way_first_is_told() -> None:
    count = _Count(remaining=2)
    count.fail(["1.2.3"], "it is full")
    count.fail(["1.2.4"], "it is gone")
    assert count.fields(is_over=True)[Field.ERROR_COMMENT] == "it is full"
    assert Field.ERROR_COMMENT not in count.fields(is_over=False)
