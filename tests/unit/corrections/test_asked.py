"""What may be asked for, and what is refused before anything is looked up."""

from __future__ import annotations

from typing import Any

import pytest

from nearframe.corrections.asked import (
    Attributes,
    Delete,
    KeepApart,
    Merge,
    Move,
    Patient,
    Revert,
    Selection,
    What,
    read_asked,
)
from nearframe.dicom.attributeedit import read_edit
from nearframe.errors import MalformedRequest

STUDY = {"study": "1.2.3"}
WHY = {"reason": "wrong patient picked at the console"}


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ({"action": "attributes", "select": STUDY, "set": {"PatientID": "7"}, "remove": ["PatientAge"]},
         Attributes(Selection(study="1.2.3"), read_edit({"PatientID": "7"}, ["PatientAge"]))),
        ({"action": "attributes", "select": {"patient": {"id": "7", "issuer": "H"}}, "set": {"PatientSex": "F"}},
         Attributes(Selection(Patient("7", "H")), read_edit({"PatientSex": "F"}))),
        ({"action": "merge", "from": {"id": "1"}, "into": {"id": "2", "attributes": {"PatientName": "Roe"}}},
         Merge(Patient("1"), Patient("2", None, read_edit({"PatientName": "Roe"})))),
        ({"action": "move", "select": STUDY | {"series": "1.2.3.1"}, "to": {"study": "1.2.9"}},
         Move(Selection(study="1.2.3", series=frozenset({"1.2.3.1"})), "1.2.9")),
        ({"action": "move", "select": STUDY, "to": {"patient": {"id": "2", "issuer": ""}}, "set": {"StudyID": "4"}},
         Move(Selection(study="1.2.3"), "", Patient("2", ""), read_edit({"StudyID": "4"}))),
        ({"action": "delete", "select": STUDY | {"instances": ["1.2.3.1.1", "1.2.3.1.2"]}},
         Delete(Selection(study="1.2.3", instances=frozenset({"1.2.3.1.1", "1.2.3.1.2"})))),
        ({"action": "revert", "instance": "1.2.3.1.1", "version": 1}, Revert("1.2.3.1.1", 1)),
        ({"action": "apart", "patient": {"id": "7", "issuer": "H"}}, KeepApart(Patient("7", "H"))),
    ],
)  # fmt: skip
def test_every_form_is_read(document: dict[str, Any], what: What) -> None:
    asked = read_asked(document | WHY)
    assert (asked.what, asked.action, asked.reason) == (what, document["action"], WHY["reason"])
    assert asked.detail == {name: value for name, value in document.items() if name != "action"}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "JSON object"),
        ({"action": "shred", "select": STUDY}, "action is one of"),
        ({"action": {}, "select": STUDY}, "action is one of"),
        ({"action": "delete", "select": STUDY, "reason": " "}, "say why"),
        ({"action": "delete", "select": STUDY, "reason": "x" * 1001}, "say why"),
        ({"action": "delete", "select": STUDY, "sett": {}}, "has no sett"),
        ({"action": "delete"}, "select is"),
        ({"action": "delete", "select": {"study": ""}}, "UID"),
        ({"action": "delete", "select": {"study": "1" * 65}}, "UID"),
        ({"action": "delete", "select": STUDY | {"series": []}}, "1 to 10000 UIDs"),
        ({"action": "delete", "select": STUDY | {"patient": {"id": "1"}}}, "not both"),
        ({"action": "delete", "select": {"patient": {"id": ""}}}, "1 to 64"),
        ({"action": "delete", "select": {"patient": {"id": "1", "issuer": 4}}}, "issuer"),
        ({"action": "attributes", "select": STUDY}, "name attributes"),
        ({"action": "attributes", "select": STUDY, "set": []}, "set is an object"),
        ({"action": "attributes", "select": STUDY, "remove": [1]}, "remove is a list"),
        ({"action": "attributes", "select": STUDY, "set": {"Rows": 1}}, "Rows cannot be corrected"),
        ({"action": "merge", "from": {"id": "1"}, "into": {"id": "1"}}, "another one"),
        ({"action": "move", "select": STUDY, "to": {"study": "1.2.3"}}, "another one"),
        ({"action": "move", "select": STUDY, "to": {"series": "1.2.3"}}, "to is"),
        ({"action": "move", "select": {"patient": {"id": "1"}}, "to": {}}, "merged"),
        ({"action": "revert", "instance": "1.2", "version": True}, "version"),
        ({"action": "revert", "instance": "1.2", "version": 0}, "version"),
        ({"action": "apart"}, "patient is"),
    ],
)
def test_what_is_none_is_refused(document: Any, says: str) -> None:
    with pytest.raises(MalformedRequest, match=says):
        read_asked(WHY | document if isinstance(document, dict) else document)
