"""Edits of headers: small, common to many instances, and exact."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom.headeredit import HeaderEdit, apply, diff
from nearframe.dicom.source import BytesSource, FileSource
from nearframe.dicom.split import split
from nearframe.errors import MalformedDICOM, MalformedRequest, MissingIdentifier
from nearframe.wire.header import HeaderBlob
from tests.unit.dicom import objects as o
from tests.unit.dicom.objects import packaged


def header(*elements: bytes, instance: str = o.INSTANCE, syntax: str = o.EXPLICIT) -> HeaderBlob:
    data = o.meta(syntax) + o.text(0x00080018, "UI", instance) + b"".join(elements)
    return split(BytesSource(data + o.picture(4, 4) + o.explicit(0x7FE00010, "OB", bytes(16)))).header


def name(value: str) -> bytes:
    return o.text(0x00100010, "PN", value)


def test_a_rename_is_one_small_edit_for_every_instance() -> None:
    edits = {
        diff(header(name("Doe^Jon"), instance=f"1.2.{n}"), header(name("Doe^John"), instance=f"1.2.{n}"))
        for n in range(9)
    }
    assert edits == {HeaderEdit(dataset=((0x00100010, name("Doe^John")),))}
    (edit,) = edits
    assert edit is not None
    assert len(json.dumps(edit.to_json())) < 60
    assert HeaderEdit.from_json(json.loads(json.dumps(edit.to_json()))) == edit


def test_insert_replace_delete_and_holes_move() -> None:
    old = header(name("Doe^Jane"), o.text(0x00100030, "DA", "19700101"))
    new = header(o.text(0x00081030, "LO", "a new description"), name("Roe"))
    edit = diff(old, new)
    assert edit is not None
    assert [(tag, raw is None) for tag, raw in edit.dataset] == [
        (0x00081030, False),
        (0x00100010, False),
        (0x00100030, True),
    ]
    assert apply(old, edit) == new
    assert new.holes[0].position != old.holes[0].position


def test_group_lengths_follow_by_themselves() -> None:
    def with_length(group: bytes) -> bytes:
        return o.explicit(0x00100000, "UL", struct.pack("<L", len(group))) + group

    old, new = header(with_length(name("Doe"))), header(with_length(name("A much longer name")))
    edit = diff(old, new)
    assert edit is not None
    assert [tag for tag, _ in edit.dataset] == [0x00100010]
    assert apply(old, edit) == new


def test_a_wrong_group_length_is_carried() -> None:
    wrong = o.explicit(0x00100000, "UL", struct.pack("<L", 9999))
    old, new = header(wrong + name("Doe")), header(wrong + name("A much longer name"))
    edit = diff(old, new)
    if edit is not None:
        assert apply(old, edit) == new


def test_the_meta_group_and_its_length() -> None:
    old, new = header(syntax=o.EXPLICIT), header(syntax="1.2.840.10008.1.2.1.98")
    edit = diff(old, new)
    assert edit is not None
    assert [tag for tag, _ in edit.meta] == [0x00020010]
    assert apply(old, edit) == new


def test_the_preamble() -> None:
    old = header()
    new = HeaderBlob(b"II*\0" + old.literals[4:], old.holes)
    edit = diff(old, new)
    assert edit is not None
    assert len(edit.preamble or b"") == 132
    assert apply(old, HeaderEdit.from_json(edit.to_json())) == new


def test_other_length_forms_are_carried_as_they_are() -> None:
    code = o.text(0x00080100, "SH", "T-1")
    old = header(o.explicit(0x00082218, "SQ", o.item(code)))
    new = header(o.explicit(0x00082218, "SQ", o.item(code) + o.SEQUENCE_END, length=o.UNDEFINED))
    edit = diff(old, new)
    assert edit is not None
    assert apply(old, edit) == new


def test_equal_headers_need_no_edit() -> None:
    assert diff(header(name("Doe")), header(name("Doe"))) == HeaderEdit()
    assert HeaderEdit().to_json() == {}


def test_other_pieces_have_no_edit() -> None:
    old = header(name("Doe"))
    data = o.meta() + o.text(0x00080018, "UI", o.INSTANCE) + name("Doe") + o.picture(4, 8)
    assert diff(old, split(BytesSource(data + o.explicit(0x7FE00010, "OB", bytes(32)))).header) is None
    assert diff(old, HeaderBlob(b"not a file")) is None


@pytest.mark.parametrize(
    "data",
    [
        [],
        "x",
        {"meta": []},
        {"dataset": {"zz": "AAAA"}},
        {"dataset": {"00100010": 7}},
        {"preamble": "*"},
        {"meta": {"1": "A"}},
    ],
)
def test_what_is_no_edit(data: object) -> None:
    with pytest.raises(MalformedRequest):
        HeaderEdit.from_json(data)


ELEMENTS = st.dictionaries(
    st.sampled_from([0x00080050, 0x00081030, 0x00090010, 0x00100000, 0x00100010, 0x00100020, 0x00104000, 0x00200010]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
)


@given(ELEMENTS, ELEMENTS)
def test_any_two_headers(before: dict[int, str], after: dict[int, str]) -> None:
    old, new = (header(*(o.text(tag, "LT", value) for tag, value in sorted(rows.items()))) for rows in (before, after))
    edit = diff(old, new)
    assert edit is not None
    assert apply(old, HeaderEdit.from_json(edit.to_json())) == new


@pytest.mark.parametrize("path", packaged(), ids=lambda path: path.name)
def test_packaged_files_can_be_edited(path: Path) -> None:
    with FileSource(path) as source:
        try:
            old = split(source).header
        except (MalformedDICOM, MissingIdentifier):
            return
    if path.name == "image_dfl.dcm":
        assert diff(old, old) == HeaderEdit(), "a deflated data set is one piece: nothing to edit"
        return
    edit = HeaderEdit(dataset=((0x00100010, name("Doe^Jane")),))
    new = apply(old, edit)
    found = diff(old, new)
    if found is not None:
        assert apply(old, found) == new
