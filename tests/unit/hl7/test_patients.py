"""Identifiers and demographics, as DICOM has them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from nearframe.errors import UnacceptableMessage
from nearframe.hl7.er7 import read_message
from nearframe.hl7.known import Authorities
from nearframe.hl7.patients import demographics_of, identifiers_of, replacements_of
from tests.hl7messages import adt, mrg, pid

NOBODY = Authorities()


def said(name: str = "Doe^Jane", birth: str = "19700101", sex: str = "F") -> dict[str, str | Mapping[str, str]]:
    return dict(demographics_of(read_message(adt("A08", pid("P", name, birth, sex))).only("PID")))


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("Doe^Jane", {"Alphabetic": "Doe^Jane"}),
        ("van Doe&van&Doe^Jane^Q^jr^Dr.^MD^L", {"Alphabetic": "van Doe^Jane^Q^Dr.^jr MD"}),
        ("Doe^Jane^^^^", {"Alphabetic": "Doe^Jane"}),
        ("Nick^Name^^^^^N~Doe^Jane^^^^^L", {"Alphabetic": "Doe^Jane"}),
        ("Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P",
         {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}),
        ("O\\T\\Doe", {"Alphabetic": "O&Doe"}),
    ],
)  # fmt: skip
def test_names(name: str, forms: dict[str, str]) -> None:
    assert said(name=name)["PatientName"] == forms


@pytest.mark.parametrize("name", ["", '""', "^^^", "Doe^Jane^^^^^S"])
def test_names_that_say_nothing(name: str) -> None:
    assert "PatientName" not in said(name=name)


@pytest.mark.parametrize(
    ("birth", "date"),
    [
        ("19700101", "19700101"),
        ("197001011230+0100", "19700101"),
        ("1970", None),
        ("197001", None),
        ('""', ""),
        ("", None),
    ],
)
def test_dates_of_birth(birth: str, date: str | None) -> None:
    assert said(birth=birth).get("PatientBirthDate") == date


@pytest.mark.parametrize(("sex", "value"), [("F", "F"), ("m", "M"), ("A", "O"), ("U", None), ("", None), ('""', "")])
def test_sexes(sex: str, value: str | None) -> None:
    assert said(sex=sex).get("PatientSex") == value


@pytest.mark.parametrize(
    ("wrong", "condition", "field"),
    [
        ({"name": "Doe=Jane"}, 102, 5),
        ({"name": "D\\S\\oe"}, 102, 5),
        ({"name": "C:\\E\\Doe"}, 102, 5),
        ({"name": "D" * 65}, 102, 5),
        ({"birth": "1 Jan 70"}, 102, 7),
        ({"sex": "W"}, 103, 8),
    ],
)
def test_what_dicom_has_no_place_for(wrong: dict[str, str], condition: int, field: int) -> None:
    with pytest.raises(UnacceptableMessage) as raised:
        said(**wrong)
    assert (raised.value.condition, raised.value.segment, raised.value.field) == (condition, "PID", field)


@pytest.mark.parametrize("identifiers", ["", "^^^HOSP", "P\\E\\1^^^HOSP", "P" * 65])
def test_identifiers_that_no_image_has(identifiers: str) -> None:
    with pytest.raises(UnacceptableMessage):
        identifiers_of(read_message(adt("A08", pid(identifiers))).only("PID"), NOBODY)


def given_up(*segments: str) -> list[tuple[str, str | None]]:
    found = replacements_of(read_message(adt("A40", *segments)), NOBODY)
    return [(one.prior.id, one.by.id if one.by else None) for one in found]


@pytest.mark.parametrize(
    ("segments", "pairs"),
    [
        ((pid("P2^^^H"), mrg("P1^^^H")), [("P1", "P2")]),
        ((pid("P2^^^H"), "PD1|", mrg("P1^^^H"), "PV1|1"), [("P1", "P2")]),
        ((pid("P2^^^H"), mrg("P1^^^H"), pid("P4^^^H"), mrg("P3^^^H")), [("P1", "P2"), ("P3", "P4")]),
        ((pid("P2^^^H~S^^^SSA"), mrg("P1^^^H~S^^^SSA")), [("P1", "P2")]),
        ((pid("P2^^^H~Q2^^^I"), mrg("P1^^^H~Q1^^^I")), [("P1", "P2"), ("Q1", "Q2")]),
        ((pid("P2^^^H^MR~A2^^^H^AN"), mrg("P1^^^H^MR")), [("P1", "P2")]),
        ((pid("P2^^^H^MR~A2^^^H^AN"), mrg("P1^^^H")), [("P1", None)]),
        ((pid("P2^^^H"), mrg("P1^^^I")), [("P1", None)]),
    ],
)
def test_what_is_given_up_for_what(segments: tuple[str, ...], pairs: list[tuple[str, str | None]]) -> None:
    assert given_up(*segments) == pairs


@pytest.mark.parametrize(
    ("segments", "condition", "place"),
    [
        ((pid("P2^^^H"),), 100, ("MRG", 0, 1)),
        ((mrg("P1^^^H"),), 100, ("MRG", 0, 1)),
        ((), 100, ("PID", 0, 1)),
        ((pid("P2^^^H"), pid("P4^^^H"), mrg("P3^^^H")), 100, ("PID", 0, 1)),
        ((pid("P2^^^H"), mrg("P1^^^H"), pid("P4^^^H")), 100, ("MRG", 0, 1)),
        ((pid("P2^^^H"), mrg("")), 101, ("MRG", 1, 1)),
        ((pid(""), mrg("P1^^^H")), 101, ("PID", 3, 1)),
        ((pid("P2^^^H"), mrg("P2^^^H")), 205, ("MRG", 1, 1)),
        ((pid("P2^^^H"), mrg("P1^^^H"), pid("P4^^^H"), mrg("P4^^^H")), 205, ("MRG", 1, 2)),
    ],
)
def test_what_is_no_merge(segments: tuple[str, ...], condition: int, place: tuple[str, int, int]) -> None:
    with pytest.raises(UnacceptableMessage) as raised:
        given_up(*segments)
    error = raised.value
    assert (error.condition, (error.segment, error.field, error.occurrence)) == (condition, place)
