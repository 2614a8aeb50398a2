"""Which key object selections are rejection notes, and what they name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rejection import note
from nearframe.dicom.rejection import KEY_OBJECT_SELECTION, Rejection, rejection_note
from nearframe.dicom.source import BytesSource
from nearframe.dicom.split import split
from tests.syncing import CT_IMAGE, ct_series, instance_uid

FILES = ct_series(2)


@pytest.mark.parametrize("rejection", list(Rejection))
def test_a_note_says_what_is_rejected_and_why(rejection: Rejection) -> None:
    found = rejection_note(split(BytesSource(note(FILES, rejection.code, "1.2.9"))).metadata)
    assert found is not None
    assert found.rejection is rejection
    assert [one.sop_instance_uid for one in found.rejected] == [instance_uid(file) for file in FILES]
    assert {(one.sop_class_uid, one.study_instance_uid) for one in found.rejected} == {
        (str(CT_IMAGE), split(BytesSource(FILES[0])).identity.study_instance_uid)
    }
    assert found.rejection.may_return == (rejection.code == "113039")


def test_other_titles_and_other_objects_are_none() -> None:
    assert rejection_note(split(BytesSource(note(FILES, "113000", "1.2.9"))).metadata) is None  # Of Interest
    assert rejection_note(split(BytesSource(note(FILES, "113001", "1.2.9", scheme="99LOCAL"))).metadata) is None
    assert rejection_note(split(BytesSource(FILES[0])).metadata) is None


_JSON = st.recursive(
    st.none() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
)


@given(
    st.dictionaries(
        st.sampled_from(["0040A043", "0040A375"]), st.fixed_dictionaries({"vr": st.just("SQ"), "Value": _JSON})
    )
)
def test_whatever_a_note_says_is_read(document: dict[str, object]) -> None:
    sop_class = {"00080016": {"vr": "UI", "Value": [KEY_OBJECT_SELECTION]}}
    assert rejection_note(sop_class | document) is None
