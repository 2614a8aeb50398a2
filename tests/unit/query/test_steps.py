"""Orders and performed steps, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearframe.clock import ManualClock
from nearframe.context import local_admin
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.identifiers import read_identifier, write_identifier
from nearframe.errors import Conflict, MalformedRequest, MissingIdentifier, NotFound, Refused, RequestError
from nearframe.query.steps import StepService, instances_of
from nearframe.storage.catalogue import open_catalogue
from nearframe.storage.catalogue.steps import Steps

WHO = local_admin()
EXPLICIT = "1.2.840.10008.1.2.1"
EVERYTHING: DICOMJSON = {"00100010": {"vr": "PN"}, "00100020": {"vr": "LO"}, "00400100": {"vr": "SQ"}}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["vr", "Value", "00100020"]), inner),
    max_leaves=8,
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[StepService]:
    catalogue = open_catalogue(tmp_path / "catalogue.sqlite", ManualClock())
    yield StepService(catalogue, Steps(catalogue.database), ManualClock())
    catalogue.close()


def order(**more: Any) -> dict[str, Any]:
    step = {
        "00400009": {"vr": "SH", "Value": ["S1"]},
        "00400002": {"vr": "DA", "Value": ["20261122"]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
    }
    steps = {"vr": "SQ", "Value": [step | more.pop("step", {})]}
    return {"00100020": {"vr": "LO", "Value": ["P-1"]}, "00400100": steps} | more


def status(text: str) -> DICOMJSON:
    return {"00400252": {"vr": "CS", "Value": [text]}}


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (7, MalformedRequest),
        ({"00100020": "P"}, MalformedRequest),
        (order(**{"00100020": {"vr": "LO"}}), MissingIdentifier),
        (order(**{"00400100": {"vr": "SQ", "Value": [7]}}), MissingIdentifier),
        (order(step={"00400009": "S1"}), MissingIdentifier),
        (order(step={"00400009": {"vr": "SH", "Value": ["S" * 17]}}), MalformedRequest),
        (order(**{"00280010": {"vr": "US", "Value": ["many"]}}), RequestError),
        (order(weight={"vr": "DS", "Value": [70]}), RequestError),
    ],
)
def test_an_order_that_no_scanner_could_read(service: StepService, bad: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        service.schedule(WHO, [order(), bad])
    assert service.orders(WHO) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.sampled_from(["00100010", "00100030", "00101030", "00321064", "00400100", "zz"]), anything)
def test_whatever_is_taken_can_be_told_to_a_scanner(service: StepService, tag: str, value: object) -> None:
    try:
        service.schedule(WHO, [order(**{tag: value})])
    except RequestError:
        return
    for item in service.worklist(WHO, EVERYTHING):
        read_identifier(write_identifier(item, EXPLICIT), EXPLICIT)


def test_a_step_goes_one_way(service: StepService) -> None:
    uid = service.begin(WHO, "", "CT1", status("IN PROGRESS"))
    assert uid.startswith("2.25.")
    with pytest.raises(Conflict):
        service.begin(WHO, uid, "CT1", status("IN PROGRESS"))
    with pytest.raises(MalformedRequest):
        service.begin(WHO, "1.2.3", "CT1", status("COMPLETED"))
    assert service.change(WHO, uid, {}).state == "IN PROGRESS"
    assert instances_of(service.change(WHO, uid, status("COMPLETED"))) == frozenset()
    with pytest.raises(Refused):
        service.change(WHO, uid, status("DISCONTINUED"))
    with pytest.raises(NotFound):
        service.change(WHO, "1.2.3", {})
