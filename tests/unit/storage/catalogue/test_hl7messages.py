"""Messages that were answered, on every database."""

from __future__ import annotations

from dataclasses import replace

from nearframe.clock import ManualClock
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.hl7messages import AnsweredMessage, HL7Messages

DONE = AnsweredMessage("ADT1|HOSPITAL", "0", "ADT^A08", "AA", "done", bytes(32), ManualClock().now())


def test_a_message_is_found_by_who_sent_it_and_what_they_call_it(catalogue: SQLCatalogue) -> None:
    known = HL7Messages(catalogue.database)
    known.note("main", DONE)
    assert known.find("main", DONE.sender, "0") == DONE
    assert known.find("main", "OTHER|HOSPITAL", "0") is known.find("other", DONE.sender, "0") is None
    known.note("main", replace(DONE, words="again"))
    assert known.find("main", DONE.sender, "0") == replace(DONE, words="again")


def test_only_so_many_are_remembered(catalogue: SQLCatalogue) -> None:
    known = HL7Messages(catalogue.database, kept=3)
    known.note("other", DONE)
    for number in range(5):
        known.note("main", replace(DONE, control_id=str(number), code="AA" if number < 4 else "AE"))
    known.note("main", replace(DONE, control_id="3", words="again"))
    assert [(one.control_id, one.words) for one in known.latest("main", 10)] == [("3", "again"), ("4", "done")]
    assert [one.control_id for one in known.latest("main", 10, failed_only=True)] == ["4"]
    assert [one.control_id for one in known.latest("main", 1)] == ["3"]
    assert known.latest("other", 10) == [DONE]
