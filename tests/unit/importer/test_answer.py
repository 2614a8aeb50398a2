"""Reading Store Instances Responses, well and badly written."""

from __future__ import annotations

from typing import Any

import pytest

from nearframe.importer.answer import Answer, Said, read_answer, reason_text


def item(uid: str, **reason: int) -> dict[str, Any]:
    tags = {"warning": "00081196", "failure": "00081197"}
    found: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    return found | {tags[name]: {"vr": "US", "Value": [code]} for name, code in reason.items()}


def test_reads_all_three_sequences() -> None:
    body = {
        "00081199": {"vr": "SQ", "Value": [item("1.1"), item("1.2", warning=0xB000)]},
        "00081198": {"vr": "SQ", "Value": [item("1.3", failure=0xA901)]},
        "0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]},
    }
    answer = read_answer([body])
    assert answer == Answer((Said("1.1"), Said("1.2", 0xB000)), (Said("1.3", 0xA901),), (Said("", 0xC000),))
    assert answer.warns


@pytest.mark.parametrize("body", [None, [], {}, "text", [[]], {"00081199": {}}, {"00081199": {"Value": [1, None]}}])
def test_what_cannot_be_read_says_nothing(body: object) -> None:
    assert read_answer(body) == Answer()


def test_the_server_s_own_words_are_kept() -> None:
    refused = {
        "00081197": {"vr": "US", "Value": [0xA900]},
        "00000902": {"vr": "LO", "Value": ["SOPInstanceUID is missing"]},
    }
    (said,) = read_answer({"0008119A": {"vr": "SQ", "Value": [refused]}}).unnamed
    assert said.comment == "SOPInstanceUID is missing"
    assert said.reason.endswith("an identifier is missing: SOPInstanceUID is missing")


def test_reasons_in_words() -> None:
    assert reason_text(0x1234, "no such thing") == "no such thing"
    assert reason_text(0xB0C0, "stored, but").endswith("(nearframe conflicts list)")
    assert "resources" in reason_text(0xA702)
    assert reason_text(0x1234) == "reason 1234"
