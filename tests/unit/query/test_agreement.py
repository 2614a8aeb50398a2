"""SQL and Python give the same answer to every key: the one is quick, the other says what it means."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearframe.context import local_admin
from nearframe.dicom.levels import Level
from nearframe.errors import MalformedRequest
from nearframe.query.matching import accepts
from nearframe.query.qido import parse_query
from nearframe.query.search import SearchService
from nearframe.storage.catalogue.answers import parse, render

_PIECES = [
    "smi",
    "th",
    "john",
    "jo",
    "mull",
    "ü",
    "er",
    "山田",
    "たろう",
    "head",
    "h",
    "MRN",
    "-",
    "001",
    "A",
    "_",
    "%",
    "1",
]
_values = st.lists(st.sampled_from([*_PIECES, "*", "?", "^", " ", "=", "\\", "*"]), max_size=6).map("".join)
_dates = st.sampled_from(
    ["20180107", "20180113", "20180201", "2018", "20180107-", "-20180113", "20180108-20180201", "-"]
)
_keys = st.one_of(
    st.tuples(st.sampled_from(["PatientName", "PatientID", "AccessionNumber", "StudyDescription"]), _values),
    st.tuples(st.sampled_from(["StudyDate", "PatientBirthDate"]), _dates),
    st.tuples(st.just("StudyTime"), st.sampled_from(["10", "093000", "0930-1015", "-10", "1015-", "101500.25"])),
    st.tuples(st.just("ModalitiesInStudy"), st.sampled_from(["CT", "MR,SR", "M*", "?T", "ct", "OT\\CT"])),
    st.tuples(st.just("StudyInstanceUID"), st.sampled_from(["1.2.1", "1.2.2,1.2.3", "9", "*1.2.4*"])),
    st.tuples(st.just("NumberOfStudyRelatedInstances"), st.sampled_from(["2", "4", "2,4", "1.5"])),
    st.tuples(st.just("PatientSex"), st.sampled_from(["M", "F", "*", "", '""'])),
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(key=_keys, fuzzy=st.booleans(), empty=st.booleans())
def test_sql_finds_what_python_accepts(search: SearchService, key: tuple[str, str], fuzzy: bool, empty: bool) -> None:
    ctx = local_admin()
    params = [key, ("fuzzymatching", str(fuzzy)), ("emptyvaluematching", str(empty))]
    try:
        criteria = parse_query(params).criteria
    except MalformedRequest:
        with pytest.raises(MalformedRequest):
            search.search(ctx, Level.STUDY, params)
        return
    every = search.search(ctx, Level.STUDY, []).rows
    wanted = [row for row in every if all(accepts(criterion, parse(row)) for criterion in criteria)]
    found = search.search(ctx, Level.STUDY, params).rows
    assert json.loads(render(found, "")) == json.loads(render(wanted, ""))
