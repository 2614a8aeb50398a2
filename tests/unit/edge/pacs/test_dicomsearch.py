"""How a search by DICOMweb is asked by C-FIND."""

from __future__ import annotations

import pytest

from nearframe.dicom.levels import Level
from nearframe.edge.pacs.dicomsearch import keys_of
from nearframe.errors import MalformedRequest
from nearframe.query.qido import parse_query
from nearframe.query.searches import Question

NAME, PATIENT, STUDY, SERIES, MODALITY, INSTANCE = (
    "00100010", "00100020", "0020000D", "0020000E", "00080060", "00080018",
)  # fmt: skip


def asked(
    level: Level, *params: tuple[str, str], study: str | None = None, series: str | None = None
) -> list[dict[str, str]]:
    question = Question(level, params, study, series, "http://edge/dicomweb")
    return [{tag: value for tag, value in keys.items() if value} for keys in keys_of(question, parse_query(params))]


def test_each_key_at_its_own_level() -> None:
    params = (("PatientID", "1"), ("Modality", "CT"), ("InstanceNumber", "7"))
    assert asked(Level.INSTANCE, *params) == [{PATIENT: "1"}, {MODALITY: "CT"}, {"00200013": "7"}]
    assert asked(Level.STUDY, ("Modality", "CT")) == [{MODALITY: "CT"}]


def test_what_the_path_names() -> None:
    assert asked(Level.INSTANCE, study="1.2", series="1.2.3") == [{STUDY: "1.2"}, {SERIES: "1.2.3"}, {}]
    assert asked(Level.STUDY, ("StudyInstanceUID", "1.2,1.3")) == [{STUDY: "1.2\\1.3"}]


@pytest.mark.parametrize(("value", "sent"), [("doe", "*doe*"), ("DOE*", "DOE*"), ("", "")])
def test_a_word_of_a_name(value: str, sent: str) -> None:
    found = asked(Level.STUDY, ("PatientName", value), ("fuzzymatching", "true"))
    assert found == ([{NAME: sent}] if sent else [{}])
    assert asked(Level.STUDY, ("PatientName", "doe")) == [{NAME: "doe"}]


def test_what_is_to_be_shown_besides() -> None:
    question = Question(Level.SERIES, (("includefield", "00081030,BodyPartExamined"),), None, None, "")
    study, series = keys_of(question, parse_query(question.params))
    assert "00081030" in study
    assert series["00180015"] == ""


def test_what_cannot_be_a_value() -> None:
    with pytest.raises(MalformedRequest):
        asked(Level.STUDY, ("StudyDate", "yesterday"))
