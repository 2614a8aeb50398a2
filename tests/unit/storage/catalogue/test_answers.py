from __future__ import annotations

import json
from typing import Any

from nearframe.ids import Identity
from nearframe.storage.catalogue.answers import (
    BASE,
    StudyCounts,
    assemble,
    instance_answer,
    parse,
    render,
    series_answer,
    study_answer,
)
from tests.unit.storage.catalogue.objects import CT_IMAGE, EXPLICIT_LE, element

COUNTS = StudyCounts(2, 5, ("CT", "SR"), (CT_IMAGE,))
SERVICE = "https://edge.example/dicomweb"


def rendered(answer: bytes) -> dict[str, Any]:
    [row] = json.loads(render([answer], SERVICE))
    return dict(row)


def test_a_study() -> None:
    row = rendered(study_answer(element("00100020", "P1") | element("00081030", "Head"), "1.2", COUNTS))
    assert list(row) == sorted(row)
    assert row["00081190"] == {"vr": "UR", "Value": [f"{SERVICE}/studies/1.2"]}
    assert row["00201206"]["Value"] == [2]
    assert row["00100020"]["Value"] == ["P1"]


def test_a_study_of_which_nothing_is_known() -> None:
    row = rendered(study_answer({}, "1.2", StudyCounts(0, 0, (), ())))
    assert row["0020000D"] == {"vr": "UI", "Value": ["1.2"]}
    assert row["00080061"] == {"vr": "CS", "Value": []}


def test_a_series_and_an_instance() -> None:
    assert rendered(series_answer({}, "1.2", "3.4", 7))["00081190"]["Value"] == [f"{SERVICE}/studies/1.2/series/3.4"]
    row = rendered(instance_answer({}, Identity("", "5.6", "3.4", "1.2"), ""))
    assert row["00081190"]["Value"] == [f"{SERVICE}/studies/1.2/series/3.4/instances/5.6"]
    assert row["00080016"] == row["00083002"] == {"vr": "UI", "Value": []}


def test_uids_are_escaped_in_addresses() -> None:
    row = rendered(instance_answer({}, Identity(CT_IMAGE, "5/6?", "..", "1 2"), EXPLICIT_LE))
    assert row["00081190"]["Value"] == [f"{SERVICE}/studies/1%202/series/../instances/5%2F6%3F"]
    assert row["00080018"]["Value"] == ["5/6?"]


def test_an_object_cannot_place_an_address() -> None:
    for text in ("\0/studies/9", r"\u0000/studies/9", '"\\', "\x00"):
        row = rendered(study_answer(element("00081030", text), "1.2", COUNTS))
        assert row["00081030"]["Value"] == [text]


def test_an_answer_is_read_and_put_together_again() -> None:
    answer = study_answer(element("00100010", "Müller^\0Jürgen"), "1.2", COUNTS)
    again = parse(answer)
    assert again["00081190"]["Value"] == [BASE.decode() + "/studies/1.2"]
    assert assemble(again) == answer
    row = rendered(assemble(again | element("00180015", "HEAD")))
    assert list(row) == sorted(row)
    assert row["00180015"]["Value"] == ["HEAD"]


def test_many_are_joined() -> None:
    assert render([], SERVICE) == b"[]"
    rows = json.loads(render([study_answer({}, f"1.{n}", COUNTS) for n in range(3)], 'https://x/"'))
    assert [row["00081190"]["Value"][0] for row in rows] == [f'https://x/"/studies/1.{n}' for n in range(3)]
