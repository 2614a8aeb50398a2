"""Orders, right and wrong: the answer to each, and what a scanner then finds on its worklist."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nearframe.context import local_admin
from nearframe.dicom.jsonitems import first_item, text_at
from nearframe.dicom.model import DICOMJSON
from tests.hl7messages import adt, message, mrg, pid, segment
from tests.integration.hl7.conftest import Archive, connected, opened, origin

WHO = local_admin()
UID = "1.2.826.0.1.3680043.2.1125.77"
OBR = segment(
    "OBR",
    {
        1: "1",
        2: "P-1^RIS",
        3: "F-1^RIS",
        4: "71250^CT THORAX^C4^THX^CT thorax plain^LOCAL",
        12: "MOB^immobile",
        16: "17^House^Gregory^^^Dr.",
        18: "A-17",
        19: "RP-1",
        20: "SPS-1",
        24: "CT",
        30: "WALK",
        31: "^pain",
    },
)
ORC = segment("ORC", {1: "{control}", 2: "P-1^RIS", 3: "F-1^RIS", 5: "{status}", 7: "^^^202611230815^^S", 18: "CT1"})
ORM = (ORC, OBR, f"ZDS|{UID}^RIS^Application^DICOM")
VISIT = segment("PV1", {1: "1", 2: "O", 8: "4^Wilson^James", 15: "A0", 19: "V-9"})
OMI = (
    "ORC|{control}|P-2^RIS|F-2^RIS||{status}",
    "TQ1|1||||||202611230900||A",
    "OBR|1|P-2^RIS|F-2^RIS|RPID^MR brain^LOCAL",
    f"IPC|A-18^RIS|RP-2|{UID}.2|SPS-2|MR|BRAIN^T1 brain^LOCAL|MRSTATION|^Room 3|MR1",
    f"IPC|A-18^RIS|RP-2|{UID}.2|SPS-3|MR|ANGIO^MR angiography^LOCAL|MRSTATION|^Room 3|MR1",
)


def order(kind: str, segments: tuple[str, ...], control: str = "NW", status: str = "SC", **more: Any) -> bytes:
    filled = (segment.format(control=control, status=status) for segment in segments)
    return message(kind, pid("P1^^^HOSP"), VISIT, *filled, **more)


def orm(control: str = "NW", status: str = "SC", **more: Any) -> bytes:
    return order("ORM^O01", ORM, control, status, version="2.3.1", **more)


def taken(archive: Archive, data: bytes) -> str:
    (answer,) = archive.send(data.replace(b"ADT1", b"RIS", 1))
    assert answer["MSA"][1] == "AA", answer
    return answer["MSA"][3]


def worklist(archive: Archive, **step: str) -> list[DICOMJSON]:
    """Return the items that a scanner finds."""
    keys: DICOMJSON = {tag: {"vr": "CS", "Value": [value]} for tag, value in step.items()}
    names = ("00080050", "0020000D", "00100020", "00100021", "00401003")
    return list(archive.steps.worklist(WHO, {name: {} for name in names} | {"00400100": {"vr": "SQ", "Value": [keys]}}))


def states(archive: Archive) -> dict[str, str]:
    return {one["step"]: one["state"] for one in archive.steps.orders(WHO)}


def the_item(archive: Archive) -> tuple[DICOMJSON, DICOMJSON]:
    """Return the only order, and its step."""
    (one,) = archive.steps.orders(WHO)
    return one["order"], first_item(one["order"], "00400100")


def test_what_an_orm_says_is_what_a_scanner_is_told(archive: Archive) -> None:
    assert taken(archive, orm()) == "1 step scheduled, 0 cancelled"
    item, step = the_item(archive)
    assert {
        tag: text_at(item, tag)
        for tag in ("00100010", "00100020", "00100021", "00100030", "00100040", "00080050", "00080090", "0020000D")
    } == {
        "00100010": "Doe^Janet",
        "00100020": "P1",
        "00100021": "HOSP",
        "00100030": "19700101",
        "00100040": "F",
        "00080050": "A-17",
        "00080090": "Wilson^James",
        "0020000D": UID,
    }
    assert {
        tag: text_at(item, tag)
        for tag in ("00321032", "00321060", "00380010", "00380500", "00401001", "00401002", "00401003", "00401004")
    } == {
        "00321032": "House^Gregory^^Dr.",
        "00321060": "CT THORAX",
        "00380010": "V-9",
        "00380500": "immobile",
        "00401001": "RP-1",
        "00401002": "pain",
        "00401003": "STAT",
        "00401004": "WALK",
    }
    assert (text_at(item, "00402016"), text_at(item, "00402017")) == ("P-1^RIS", "F-1^RIS")
    assert {
        tag: text_at(step, tag) for tag in ("00080060", "00400001", "00400002", "00400003", "00400007", "00400009")
    } == {
        "00080060": "CT",
        "00400001": "CT1",
        "00400002": "20261123",
        "00400003": "0815",
        "00400007": "CT thorax plain",
        "00400009": "SPS-1",
    }
    code = first_item(step, "00400008")
    assert [text_at(code, tag) for tag in ("00080100", "00080102", "00080104")] == ["THX", "LOCAL", "CT thorax plain"]


def test_each_ipc_of_an_omi_is_a_step(archive: Archive) -> None:
    assert taken(archive, order("OMI^O23", OMI)) == "2 steps scheduled, 0 cancelled"
    found = worklist(archive, **{"00080060": "MR", "00400001": "MR1"})
    assert [text_at(item, "00080050") for item in found] == ["A-18", "A-18"]
    assert {text_at(item, "0020000D") for item in found} == {f"{UID}.2"}
    assert {text_at(item, "00401003") for item in found} == {"HIGH"}
    steps = [first_item(one["order"], "00400100") for one in archive.steps.orders(WHO)]
    assert [text_at(step, "00400009") for step in steps] == ["SPS-2", "SPS-3"]
    assert [text_at(step, "00400007") for step in steps] == ["T1 brain", "MR angiography"]
    assert {(text_at(step, "00400010"), text_at(step, "00400011")) for step in steps} == {("MRSTATION", "Room 3")}
    assert worklist(archive, **{"00400001": "MR2"}) == []


def test_an_order_from_beginning_to_end(archive: Archive) -> None:
    taken(archive, orm(control_id="1"))
    assert states(archive) == {"SPS-1": ""}
    changed = orm("XO", control_id="2").replace(b"202611230815", b"202611240900+0100")
    assert taken(archive, changed) == "1 step scheduled, 0 cancelled"
    assert [text_at(the_item(archive)[1], tag) for tag in ("00400002", "00400003")] == ["20261124", "0900"]
    taken(archive, orm("SC", "IP", control_id="3"))
    assert states(archive) == {"SPS-1": "IN PROGRESS"}
    taken(archive, orm("XO", "SC", control_id="4"))  # a change of something else leaves it as it is
    assert states(archive) == {"SPS-1": "IN PROGRESS"}
    taken(archive, orm("SC", "CM", control_id="5"))
    assert states(archive) == {"SPS-1": "COMPLETED"}
    assert worklist(archive) == []
    taken(archive, orm("NW", control_id="6"))
    assert states(archive) == {"SPS-1": ""}


@pytest.mark.parametrize("control", ["CA", "OC", "DC"])
def test_a_cancelled_order_is_off_the_worklist(archive: Archive, control: str) -> None:
    taken(archive, orm(control_id="1"))
    assert taken(archive, orm(control, "CA", control_id="2")) == "0 steps scheduled, 1 cancelled"
    assert worklist(archive) == []
    assert states(archive) == {"SPS-1": "DISCONTINUED"}
    assert taken(archive, message("ORM^O01", pid("P1^^^HOSP"), "ORC|CA|P-7|F-7", control_id="3")).endswith(
        "0 cancelled"
    )


def test_a_cancellation_by_the_numbers_of_the_order_alone(archive: Archive) -> None:
    taken(archive, order("OMI^O23", OMI, control_id="1"))
    taken(archive, orm(control_id="2"))
    cancelled = message("OMI^O23", pid("P1^^^HOSP"), "ORC|CA|P-2^RIS|F-2^RIS||CA", control_id="3")
    assert taken(archive, cancelled) == "0 steps scheduled, 2 cancelled"
    assert states(archive) == {"SPS-1": "", "SPS-2": "DISCONTINUED", "SPS-3": "DISCONTINUED"}


def test_what_a_short_order_leaves_out_is_made_up_the_same_way_each_time(archive: Archive) -> None:
    obr = segment("OBR", {1: "1", 2: "P-5", 3: "F-5", 4: "KNEE^Knee^L", 24: "CR", 27: "^^^20261123"})
    segments = ("ORC|{control}|P-5|F-5||{status}", obr)
    taken(archive, order("ORM^O01", segments, control_id="1"))
    before = archive.steps.orders(WHO)
    item, step = the_item(archive)
    assert (text_at(item, "00080050"), text_at(item, "00401001")) == ("F-5", "F-5")
    assert text_at(item, "0020000D").startswith("2.25.")
    assert len(text_at(step, "00400009")) == 16
    taken(archive, order("ORM^O01", segments, "XO", control_id="2"))
    assert archive.steps.orders(WHO) == before
    assert taken(archive, order("ORM^O01", segments, "CA", control_id="3")).endswith("1 cancelled")


def test_who_is_with_child_is_marked(archive: Archive) -> None:
    taken(archive, orm().replace(b"|A0|", b"|A0~B6|"))
    assert text_at(the_item(archive)[0], "001021C0") == "3"


def test_another_event_of_clinical_orders(archive: Archive) -> None:
    assert (
        taken(archive, order("OMG^O19", (ORM[0], "TQ1|1||||||20261123", *ORM[1:]))) == "1 step scheduled, 0 cancelled"
    )
    assert text_at(the_item(archive)[1], "00400002") == "20261123"


def test_orders_that_wait_say_what_the_hospital_says(archive: Archive) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y%m%d").encode()
    taken(archive, orm(control_id="1").replace(b"20261123", tomorrow))
    taken(archive, order("OMI^O23", OMI, "SC", "CM", control_id="2").replace(b"20261123", tomorrow))

    def patients() -> list[tuple[str, str]]:
        items = [one["order"] for one in archive.steps.orders(WHO)]
        return sorted((text_at(item, "00100020"), text_at(item, "00100010")) for item in items)

    def told(data: bytes) -> str:
        (answer,) = archive.send(data)
        return answer["MSA"][3]

    over = [("P1", "Doe^Janet")] * 2  # as it was when they were done
    assert told(adt("A08", pid("P1^^^CLINIC", "Roe^Richard"))) == "nothing is held of this patient"
    assert patients() == [*over, ("P1", "Doe^Janet")]
    assert told(adt("A08", pid("P1^^^HOSP", "Doe^Jane"), control_id="3")) == "1 step of the worklist changed"
    assert patients() == sorted([*over, ("P1", "Doe^Jane")])
    assert told(adt("A47", pid("P7^^^HOSP", "Not^Meant"), mrg("P1^^^HOSP"), control_id="4")).startswith("1 step ")
    assert patients() == [*over, ("P7", "Doe^Jane")]
    assert told(adt("A40", pid("P2^^^HOSP", "Roe^Richard"), mrg("P7^^^HOSP"), control_id="5")).startswith("1 step ")
    assert patients() == [*over, ("P2", "Roe^Richard")]


WRONG: dict[str, tuple[bytes, str, str]] = {
    "no order": (message("ORM^O01", pid("P1")), "AE", "100 ORC^1"),
    "no patient": (message("ORM^O01", "ORC|NW|P", OBR), "AE", "100 PID^1"),
    "no request": (message("ORM^O01", pid("P1"), "ORC|NW|P"), "AE", "100 ORC^1"),
    "no control": (orm(""), "AE", "101 ORC^1^1"),
    "a control of pharmacies": (orm("RF"), "AE", "103 ORC^1^1"),
    "no date": (orm().replace(b"202611230815", b""), "AE", "101 ORC^1^7"),
    "a date that is none": (orm().replace(b"202611230815", b"tomorrow"), "AE", "102 ORC^1^7"),
    "a day that is none": (orm().replace(b"202611230815", b"20261199"), "AE", "102 OBR^1"),
    "no modality": (orm().replace(b"||||CT|", b"|||||"), "AE", "101 OBR^1^24"),
    "an accession number of 17": (orm().replace(b"|A-17|", b"|A-345678901234567|"), "AE", "102 OBR^1"),
    "a study that is no UID": (orm().replace(UID.encode(), b"study 7"), "AE", "102 ZDS^1"),
    "one wrong order of two": (order("ORM^O01", (*ORM[:2], "ORC|NW|P-9", ORM[1].replace("|CT|", "||"))), "AE", "101"),
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with opened(tmp_path_factory.mktemp("empty")) as archive:
        yield archive


@pytest.mark.parametrize("name", WRONG)
def test_an_order_that_no_scanner_could_work_with(name: str, empty: Archive) -> None:
    data, code, error = WRONG[name]
    (answer,) = empty.send(data.replace(b"ADT1", b"RIS", 1))
    place = answer["ERR"][1].rpartition("^") if answer["MSH"][12] == "2.3.1" else None
    found = f"{place[2]} {place[0]}" if place else f"{answer['ERR'][3].split('^')[0]} {answer['ERR'][2]}"
    assert (answer["MSA"][1], found.startswith(error)) == (code, True), answer
    assert empty.steps.orders(WHO) == []


async def test_an_order_shows_up_on_the_worklist_of_a_node(tmp_path: Path) -> None:
    async with origin(tmp_path / "home") as (port, node), connected(port) as sender:
        assert (await sender.send(orm()))["MSA"][1] == "AA"
        (listed,) = (await node.client.get("/api/worklist", params={"date": "20261123"})).json()
        assert (listed["step"], text_at(listed["order"], "00080050")) == ("SPS-1", "A-17")
