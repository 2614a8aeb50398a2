"""Which acknowledgements are sent, and what stands in them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nearframe.errors import UnacceptableMessage
from nearframe.hl7.acknowledgement import Code, Header, Outcome, acknowledgements
from nearframe.hl7.er7 import read_message
from tests.hl7messages import adt, segments_of

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
DONE = Outcome(Code.ACCEPTED, "2 instances corrected")
WRONG = Outcome.of_error(UnacceptableMessage(101, "there is no identifier of the patient", "PID", 3, 2))
UNKNOWN = Outcome.of_error(UnacceptableMessage(201, "this event is not taken here", "MSH", 9))


def answers(data: bytes, outcome: Outcome) -> list[dict[str, list[str]]]:
    return [segments_of(one) for one in acknowledgements(Header.of(data), outcome, NOW)]


def codes(more: str, outcome: Outcome) -> list[str]:
    return [one["MSA"][1] for one in answers(adt("A08", more=more), outcome)]


def test_an_acknowledgement_goes_back_to_whom_it_came_from() -> None:
    (found,) = answers(adt("A08", control_id="M&1"), DONE)
    msh = found["MSH"]
    assert msh[2:8] == ["^~\\&", "NEARFRAME", "RAD", "ADT1", "HOSPITAL", "20261122080000+0000"]
    assert (msh[9], msh[11], msh[12]) == ("ACK^A08^ACK", "P", "2.5.1")
    assert found["MSA"] == ["", "AA", "M\\T\\1", "2 instances corrected"]
    assert "ERR" not in found
    assert msh[10] != next(iter(answers(adt("A08"), DONE)))["MSH"][10]


def test_an_error_says_what_and_where() -> None:
    (found,) = answers(adt("A08"), WRONG)
    assert found["MSA"][1] == "AE"
    text = "there is no identifier of the patient"
    assert found["ERR"] == ["", "", "PID^2^3", "101^Required field missing^HL70357", "E", "", "", "", text]


def test_an_error_as_older_versions_say_it() -> None:
    (found,) = answers(adt("A08", version="2.3.1"), WRONG)
    assert found["MSH"][12] == "2.3.1"
    assert found["ERR"] == ["", "PID^2^3^101"]


@pytest.mark.parametrize(
    ("version", "kind", "has_text", "err"),
    [
        ("2.2", "ACK", True, ["", "PID^2^3^101"]),
        ("2.3.1", "ACK^A08^ACK", True, ["", "PID^2^3^101"]),
        ("2.5", "ACK^A08^ACK", True, ["", "", "PID^2^3"]),
        ("2.8", "ACK^A08^ACK", False, ["", "", "PID^2^3"]),
        ("", "ACK^A08^ACK", True, ["", "", "PID^2^3"]),
        ("3.0", "ACK^A08^ACK", True, ["", "", "PID^2^3"]),
    ],
)
def test_each_version_is_answered_in_its_form(version: str, kind: str, has_text: bool, err: list[str]) -> None:
    (found,) = answers(adt("A08", version=version), WRONG)
    assert (found["MSH"][9], found["MSH"][12]) == (kind, version if version[:2] == "2." else "2.5.1")
    assert len(found["MSA"]) == (4 if has_text else 3)
    assert found["ERR"][: len(err)] == err


def test_a_message_without_a_header_is_rejected_without_a_name() -> None:
    error = UnacceptableMessage(100, "this is no message: it does not begin with MSH", "MSH")
    (found,) = answers(b"PID|1||P", Outcome.of_error(error))
    assert found["MSA"][1:3] == ["AE", ""]
    assert found["MSH"][3:7] == ["", "", "", ""]
    assert found["ERR"][2] == "MSH^1"


@pytest.mark.parametrize(
    ("more", "done", "wrong", "unknown"),
    [
        ("", ["AA"], ["AE"], ["AR"]),
        ("|||AL|NE", ["CA"], ["CE"], ["CR"]),
        ("|||AL|AL", ["CA", "AA"], ["CA", "AE"], ["CR"]),
        ("|||NE|AL", ["AA"], ["AE"], []),
        ("|||NE|NE", [], [], []),
        ("|||ER|NE", [], ["CE"], ["CR"]),
        ("|||SU|NE", ["CA"], [], []),
        ("|||AL|ER", ["CA"], ["CA", "AE"], ["CR"]),
        ("|||AL|SU", ["CA", "AA"], ["CE"], ["CR"]),
        ("||||AL", ["AA"], ["AE"], []),
    ],
)
def test_what_is_sent_by_what_is_asked_for(more: str, done: list[str], wrong: list[str], unknown: list[str]) -> None:
    assert [codes(more, outcome) for outcome in (DONE, WRONG, UNKNOWN)] == [done, wrong, unknown]


def test_an_acknowledgement_is_a_message() -> None:
    (data,) = acknowledgements(Header.of(adt("A08").replace(b"HOSPITAL", b"M\xfcnchen")), WRONG, NOW)
    assert read_message(data).header.text(6) == "M?nchen"
