"""In which contexts instances are sent, and how many fit an association."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import cast

import pytest

from nearframe.dimse.negotiation import MAX_CONTEXTS
from nearframe.dimse.sending import ALWAYS_FIT, batches, proposals
from nearframe.storage.ports import InstanceRecord


def record(sop_class: int, syntax: int) -> InstanceRecord:
    identity = SimpleNamespace(sop_class_uid=f"1.2.840.10008.5.1.4.1.1.{sop_class}")
    return cast(
        InstanceRecord,
        SimpleNamespace(identity=identity, transfer_syntax_uid=f"1.2.840.10008.1.2.4.{syntax}"),
    )


@pytest.mark.parametrize("classes", [1, 42, 43, 200])
@pytest.mark.parametrize("syntaxes", [1, 5])
def test_what_one_association_can_carry(classes: int, syntaxes: int) -> None:
    records = [record(one, syntax) for one in range(classes) for syntax in range(syntaxes)] * 2
    parted = list(batches(records))
    assert list(chain.from_iterable(parted)) == records
    assert all(len(proposals(batch)) <= MAX_CONTEXTS for batch in parted)
    assert (len(parted) == 1) == (classes * (syntaxes + 2) <= MAX_CONTEXTS)


def test_nothing_is_no_association() -> None:
    assert list(batches([])) == []


def test_so_many_always_fit() -> None:
    assert len(list(batches([record(number, 1) for number in range(ALWAYS_FIT)]))) == 1
