"""Requests for storage commitment, on every database."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nearframe.clock import ManualClock
from nearframe.errors import Busy
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.commitments import Commitment, CommitmentKey, Commitments
from nearframe.storage.catalogue.room import Room

NOW = ManualClock().now()
KEY = CommitmentKey("main", "CT", "2.25.1")
ASKED = (("1.2.840.10008.5.1.4.1.1.2", "1.2.1"), ("1.2.840.10008.5.1.4.1.1.2", "1.2.2"))


def test_a_request_is_due_until_its_report_has_arrived(catalogue: SQLCatalogue) -> None:
    table = Commitments(catalogue.database)
    asked = Commitment(KEY, ASKED, NOW)
    table.put(asked, NOW)
    assert table.find(KEY) == asked
    assert table.due(NOW, 10) == [asked]
    table.tried(asked, NOW + timedelta(seconds=10))
    assert table.due(NOW, 10) == []
    assert table.next_due() == NOW + timedelta(seconds=10)
    [again] = table.due(NOW + timedelta(seconds=10), 10)
    assert again.attempts == 1
    table.tried(again, None)
    assert table.next_due() is None
    assert table.forget(NOW + timedelta(seconds=1)) == 1
    assert table.find(KEY) is None


def test_the_same_transaction_begins_anew(catalogue: SQLCatalogue) -> None:
    table = Commitments(catalogue.database)
    table.put(Commitment(KEY, ASKED, NOW, attempts=7), NOW)
    table.put(Commitment(KEY, ASKED[:1], NOW), None)
    assert table.find(KEY) == Commitment(KEY, ASKED[:1], NOW)
    assert table.forget(NOW) == 0


def test_requestors_are_apart(catalogue: SQLCatalogue) -> None:
    table = Commitments(catalogue.database)
    table.put(Commitment(KEY, ASKED, NOW), NOW)
    assert table.find(KEY._replace(requestor="MR")) is None
    assert table.find(KEY._replace(tenant="other")) is None


def asked(number: int, requestor: str = "CT", asked: tuple[tuple[str, str], ...] = ASKED) -> Commitment:
    key = CommitmentKey("main", requestor, f"2.25.{number}")
    return Commitment(key, asked, NOW + timedelta(seconds=number))


def test_there_is_room_for_so_many(catalogue: SQLCatalogue) -> None:
    table = Commitments(catalogue.database, Room(rows=4))
    for number in (1, 2):
        table.put(asked(number), NOW)
    with pytest.raises(Busy, match="wait for their reports"):
        table.put(asked(3), NOW)
    table.put(asked(2), NOW)  # the same once more
    for number in (3, 4):
        table.put(asked(number, "MR"), NOW)
    with pytest.raises(Busy):
        table.put(asked(5, "US"), NOW)
    table.tried(asked(1), None)
    table.put(asked(5), NOW)
    assert table.find(asked(1).key) is None
    assert [one.key.transaction_uid for one in table.due(NOW, 10)] == ["2.25.2", "2.25.3", "2.25.4", "2.25.5"]


def test_there_is_room_for_so_many_bytes(catalogue: SQLCatalogue) -> None:
    table = Commitments(catalogue.database, Room(document_bytes=2000))
    many = tuple(("1.2.840.10008.5.1.4.1.1.2", f"1.2.{number:04}") for number in range(20))
    table.put(asked(1, asked=many), NOW)
    with pytest.raises(Busy):
        table.put(asked(2, asked=many), NOW)
    table.tried(asked(1), None)
    table.put(asked(2, asked=many), NOW)
    assert table.find(asked(1).key) is None
