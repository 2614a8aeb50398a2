"""Objects and requests of peers that mean harm, or cannot count: each gets its status, and nothing of them is kept."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import httpx
import pytest

from bench.harness import pss_bytes
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.command import CommandField
from nearframe.dimse.identifiers import write_identifier
from nearframe.dimse.pdu import PDUType
from nearframe.dimse.status import Status
from nearframe.units import MIB
from tests.integration.dimse.conftest import Archive
from tests.integration.dimse.hostile import (
    EXPLICIT,
    FIND,
    MOVE,
    STORE,
    STORE_DEFLATED,
    STUDY_FIND,
    STUDY_MOVE,
    Associated,
    command,
    message,
    store,
    uid_of,
)
from tests.integration.dimse.test_workflow import data_set_of
from tests.syncing import ct_series

STUDY = "1.2.826.0.1.3680043.2.1125.41"
SERIES = [data_set_of(file) for file in ct_series(3, study=STUDY, seed=41)]


UIDS = [uid_of(data) for data in SERIES]
OBJECT, UID = SERIES[0], UIDS[0]


@pytest.fixture
def wire(node: Archive) -> Iterator[Associated]:
    """An association; afterwards it serves still, and nothing is there that may not be."""
    held = set(node.instances())
    with Associated(node.dicom) as wire:
        yield wire
        assert wire.echo() == Status.SUCCESS
        wire.release()
    assert set(node.instances()) - held <= set(UIDS)


def with_uid(uid: str) -> bytes:
    """Return an object that says it is called so."""
    return OBJECT.replace(UID.encode(), uid.encode().ljust(len(UID), b"\0"))


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uid",
    ["../x", "/etc/passwd", "..", "1.2/../../x", ";rm -rf .", "$(touch x)", "1.2\r\n3", "1\x002", "", "1." * 32 + "1"],
)
def test_an_object_of_a_name_that_is_none(wire: Associated, uid: str) -> None:
    assert wire.ask(STORE, store(uid), with_uid(uid[:40])).status == Status.CANNOT_UNDERSTAND


@pytest.mark.parametrize("uid", ["../x", "/etc/passwd", "1.2.3"])
def test_an_object_of_another_name_than_its_command_says(wire: Associated, uid: str) -> None:
    assert wire.ask(STORE, store(UID), with_uid(uid)).status == Status.DATA_SET_DOES_NOT_MATCH


def test_an_object_of_another_class_than_its_command_says(wire: Associated) -> None:
    asked = command(CommandField.C_STORE_RQ, "1.2.840.10008.5.1.4.1.1.4", has_data=True, affected_sop_instance_uid=UID)
    assert wire.ask(STORE, asked, OBJECT).status == Status.DATA_SET_DOES_NOT_MATCH


def test_other_pixels_under_the_same_name_do_not_replace_those_there_are(node: Archive, wire: Associated) -> None:
    uid = UIDS[1]
    assert wire.ask(STORE, store(uid), SERIES[1]).status == Status.SUCCESS
    other = SERIES[1][:-8] + bytes(8)
    assert wire.ask(STORE, store(uid, number=2), other).status == Status.SUCCESS
    path = f"{node.url}/dicomweb/studies/{STUDY}/series/{STUDY}.1/instances/{uid}/frames/1"
    shown = httpx.get(path, headers={"Accept": 'multipart/related; type="application/octet-stream"'})
    assert SERIES[1][-8:] in shown.content
    [conflict] = httpx.get(f"{node.url}/api/conflicts").json()["conflicts"]
    assert (conflict["version"], conflict["current_version"]) == (2, 1)


# -- contents -------------------------------------------------------------------------------------


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def sequences(depth: int) -> bytes:
    """Return an object with a sequence within a sequence within …."""
    sequence = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    at = OBJECT.index(b"\x08\0\x90\0") if b"\x08\0\x90\0" in OBJECT else OBJECT.index(b"\x10\0\x10\0PN")
    return OBJECT[:at] + sequence * depth + OBJECT[at:]


def pixel_data(size: int) -> bytes:
    """Return an object that says its pixel data were so long."""
    at = OBJECT.index(b"\xe0\x7f\x10\0O")
    return OBJECT[: at + 8] + struct.pack("<I", size) + OBJECT[at + 12 :]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", Status.DATA_SET_DOES_NOT_MATCH),
        (b"x", Status.DATA_SET_DOES_NOT_MATCH),
        (b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n" * 20, Status.CANNOT_UNDERSTAND),
        (OBJECT[:480], Status.CANNOT_UNDERSTAND),
        (OBJECT[:-1], Status.CANNOT_UNDERSTAND),
        (sequences(10_000), Status.CANNOT_UNDERSTAND),
        (pixel_data(0xFFFFFFFE), Status.CANNOT_UNDERSTAND),
        (pixel_data(len(OBJECT)), Status.CANNOT_UNDERSTAND),
        (OBJECT + bytes(9 * MIB), Status.OUT_OF_RESOURCES),
    ],
    ids=[
        "nothing", "a byte", "HTTP", "half of it", "all but a byte", "10 000 sequences deep", "pixels of 4 GiB",
        "more pixels than there are", "larger than an object may be",
    ],
)  # fmt: skip
def test_an_object_that_is_none(wire: Associated, data: bytes, status: Status) -> None:
    assert wire.ask(STORE, store(UID), data).status == status


def test_a_deflate_bomb(node: Archive, wire: Associated) -> None:
    before = pss_bytes(node.pid)
    bomb = deflated(OBJECT[: OBJECT.index(b"\xe0\x7f\x10\0O")] + b"\xe0\x7f\x10\0OW\0\0" + bytes(400 * MIB))
    assert len(bomb) < MIB
    assert wire.ask(STORE_DEFLATED, store(UID), bomb).status == Status.OUT_OF_RESOURCES
    assert pss_bytes(node.pid) - before < 64 * MIB


# -- requests -------------------------------------------------------------------------------------


def identifier(level: str, patient: str = "", study: str = "") -> bytes:
    document: DICOMJSON = {"00080052": {"vr": "CS", "Value": [level]}}
    document |= {"00100020": {"vr": "LO", "Value": [patient]}, "0020000D": {"vr": "UI", "Value": [study]}}
    return write_identifier(document, EXPLICIT)


@pytest.mark.parametrize("to", ["NOWHERE", "127.0.0.1", "169.254.169.254", "../x", "SCANNER", "127.0.0.1:104", ""])
def test_a_move_to_who_is_not_configured(wire: Associated, to: str) -> None:
    asked = command(CommandField.C_MOVE_RQ, STUDY_MOVE, has_data=True, priority=0, move_destination=to)
    answer = wire.ask(MOVE, asked, identifier("STUDY", study=STUDY))
    assert answer.status == Status.MOVE_DESTINATION_UNKNOWN


def find(number: int = 1) -> bytes:
    asked = command(CommandField.C_FIND_RQ, STUDY_FIND, number=number, has_data=True, priority=0)
    return message(FIND, asked, identifier("IMAGE", "*", STUDY))


def cancel(number: int) -> bytes:
    asked = command(CommandField.C_CANCEL_RQ, STUDY_FIND, message_id_being_responded_to=number)
    return message(FIND, asked)


def test_a_search_for_everything_can_be_cancelled(wire: Associated) -> None:
    for uid, data in zip(UIDS, SERIES, strict=True):
        wire.ask(STORE, store(uid), data)
    wire.send(find(7), cancel(7))
    assert wire.answer().status == Status.CANCELLED
    wire.send(find(7))  # the number once more: it is not this one that was cancelled
    statuses = [wire.answer().status for _ in range(len(UIDS) + 1)]
    assert statuses == [Status.PENDING] * len(UIDS) + [Status.SUCCESS]


def test_a_flood_of_searches_is_answered_one_by_one(node: Archive, wire: Associated) -> None:
    before = pss_bytes(node.pid)
    with Associated(node.dicom) as flood:
        flood.socket.settimeout(1)
        assert flood.send_until_cut(find() * 50, 64 * MIB) < 32 * MIB
        assert wire.echo() == Status.SUCCESS
    assert pss_bytes(node.pid) - before < 16 * MIB


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", Status.CANNOT_UNDERSTAND),
        (b"\0" * 100, Status.CANNOT_UNDERSTAND),
        (OBJECT[:300], Status.CANNOT_UNDERSTAND),
        (identifier("GALAXY"), Status.CANNOT_UNDERSTAND),
        (identifier("IMAGE", "*" * 10_000), Status.SUCCESS),
        (identifier("STUDY", "'; DROP TABLE study; --"), Status.SUCCESS),
        (identifier("STUDY", "%_[a-z]{1000}(a+)+$"), Status.SUCCESS),
        (b"\x08\0\x52\0CS\6\0STUDY " + b"".join(
            struct.pack("<HH2sH", 0x0011, n, b"LO", 0) for n in range(20_000)), Status.OUT_OF_RESOURCES),
    ],
    ids=[
        "nothing", "nulls", "half an object", "a level that there is not", "10 000 asterisks", "SQL",
        "patterns of other languages", "20 000 keys",
    ],
)  # fmt: skip
def test_a_search_that_is_none_or_strange(wire: Associated, data: bytes, status: Status) -> None:
    asked = command(CommandField.C_FIND_RQ, STUDY_FIND, has_data=True, priority=0)
    assert wire.ask_all(FIND, asked, data)[-1] == status


def test_an_identifier_without_end(node: Archive, wire: Associated) -> None:
    asked = command(CommandField.C_FIND_RQ, STUDY_FIND, has_data=True, priority=0)
    assert wire.ask(FIND, asked, identifier("STUDY") + bytes(2 * MIB)).status == Status.CANNOT_UNDERSTAND


def test_a_peer_without_the_right_to_it(node: Archive) -> None:
    with Associated(node.dicom, "READER") as reader:
        assert reader.ask(STORE, store(UID), OBJECT).status == Status.UNRECOGNIZED_OPERATION
        reader.send(find())
        assert reader.hear()[0] == PDUType.P_DATA_TF
