"""Requests for storage commitment, on every database."""

from __future__ import annotations

from datetime import timedelta

from nearframe.clock import ManualClock
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.commitments import Commitment, CommitmentKey, Commitments

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
