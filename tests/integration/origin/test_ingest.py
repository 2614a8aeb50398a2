"""Ingest over real packs and a real catalogue: what goes in comes out, byte for byte."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file, get_testdata_files
from pydicom.uid import JPEG2000Lossless, RLELossless

from nearframe.context import local_admin
from nearframe.errors import Busy, LimitExceeded, MalformedRequest, NoSpace, UnsupportedMedia
from nearframe.intake.ingest import PIXELS_DIFFER
from nearframe.intake.spool import SpoolLimits
from nearframe.intake.store import MAX_REJECTED_PARTS, PARTS_AT_ONCE
from nearframe.metrics import INGEST_BYTES, INGEST_FAILURES, INGEST_INSTANCES
from nearframe.storage.ports import Outcome
from nearframe.units import MIB
from tests.integration.origin.conftest import Node, Part, open_node

#: Packaged with pydicom, and refused: no SOP Instance UID, cut short, or no DICOM at all.
REFUSED = {
    "MR_truncated.dcm": 0xC000,
    "rtplan_truncated.dcm": 0xC000,
    "no_meta.dcm": 0xC000,
    "UN_sequence.dcm": 0xA900,
    "DICOMDIR-empty.dcm": 0xA900,
    "empty_charset_LEI.dcm": 0xA900,
    "meta_missing_tsyntax.dcm": 0xA900,
    "nested_priv_SQ.dcm": 0xA900,
    "no_meta_group_length.dcm": 0xA900,
    "priv_SQ.dcm": 0xA900,
}


def packaged(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def edited(data: bytes, **elements: str) -> bytes:
    """Return a file with some elements replaced."""
    ds = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def repainted(data: bytes) -> bytes:
    """Return a file with one sample changed."""
    ds = pydicom.dcmread(io.BytesIO(data))
    pixels = bytearray(ds.PixelData)
    pixels[1000] ^= 1
    ds.PixelData = bytes(pixels)
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def compressed(data: bytes, transfer_syntax: pydicom.uid.UID) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.compress(transfer_syntax, generate_instance_uid=False)
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def uid_of(data: bytes) -> str:
    return str(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True).SOPInstanceUID)


async def outcome_of(node: Node, data: bytes) -> tuple[Outcome, int]:
    (stored,) = (await node.store(data)).stored
    return stored.outcome, stored.version


async def test_every_packaged_object_comes_back_byte_for_byte(node: Node) -> None:
    refused = {}
    for path in sorted(path for path in map(Path, get_testdata_files()) if path.suffix == ".dcm"):
        data = path.read_bytes()
        report = await node.store(data)
        for failed in report.failed:
            refused[path.name] = failed.failure_reason
        for stored in report.stored:
            assert data in node.versions(stored.identity.sop_instance_uid), path.name
    assert refused == REFUSED


async def test_a_request_of_many_parts_is_reported_in_order(node: Node) -> None:
    names = ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "JPEG2000.dcm"]
    files = [packaged(name) for name in names]
    report = await node.store(files[0], b"not DICOM", *files[1:])
    assert [stored.identity.sop_instance_uid for stored in report.stored] == [uid_of(file) for file in files]
    (failed,) = report.failed
    assert (failed.identity, failed.failure_reason) == (None, 0xC000)
    assert node.metrics.value(INGEST_INSTANCES, outcome="created") == 4
    assert node.metrics.value(INGEST_FAILURES) == 1
    assert node.metrics.value(INGEST_BYTES) == sum(map(len, files))


async def test_the_same_again_changes_nothing(node: Node) -> None:
    data = packaged("CT_small.dcm")
    assert await outcome_of(node, data) == (Outcome.CREATED, 1)
    before = node.contents.stats(), node.catalogue.head()
    assert await outcome_of(node, data) == (Outcome.REPEATED, 1)
    assert node.catalogue.head() == before[1]
    assert node.contents.stats().contents == before[0].contents


async def test_the_same_twice_at_once_is_stored_once(node: Node) -> None:
    data = packaged("CT_small.dcm")
    reports = await asyncio.gather(*(node.store(data, data) for _ in range(4)))
    outcomes = [stored.outcome for report in reports for stored in report.stored]
    assert sorted(outcomes) == [Outcome.CREATED] + [Outcome.REPEATED] * 7
    assert len(node.versions(uid_of(data))) == 1


async def test_another_header_is_a_new_version_without_new_pixels(node: Node) -> None:
    data = packaged("CT_small.dcm")
    corrected = edited(data, PatientName="Doe^Jane")
    await node.store(data)
    contents = node.contents.stats().contents
    assert await outcome_of(node, corrected) == (Outcome.REVISED, 2)
    assert node.contents.stats().contents == contents + 1, "a header blob, no frame"
    assert node.versions(uid_of(data)) == [data, corrected]
    assert node.catalogue.find_instance("main", uid_of(data)).version == 2


async def test_other_pixels_are_stored_and_not_current(node: Node) -> None:
    data = packaged("CT_small.dcm")
    await node.store(data)
    (stored,) = (await node.store(repainted(data))).stored
    assert (stored.outcome, stored.version, stored.warning_reason) == (Outcome.CONFLICTING, 2, PIXELS_DIFFER)
    assert stored.warning
    assert node.versions(uid_of(data)) == [data, repainted(data)]
    assert node.catalogue.find_instance("main", uid_of(data)).version == 1
    assert len(node.catalogue.conflicts("main")) == 1


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("transfer_syntax", [RLELossless, JPEG2000Lossless])
async def test_another_lossless_encoding_is_the_same_picture(
    node: Node, transfer_syntax: pydicom.uid.UID, order: int
) -> None:
    native = packaged("MR_small.dcm")
    first, second = [native, compressed(native, transfer_syntax)][::order]
    assert await outcome_of(node, first) == (Outcome.CREATED, 1)
    assert await outcome_of(node, second) == (Outcome.REVISED, 2)
    assert node.versions(uid_of(native)) == [first, second]


async def test_another_encoding_of_another_picture_conflicts(node: Node) -> None:
    native = packaged("MR_small.dcm")
    await node.store(native)
    assert await outcome_of(node, compressed(repainted(native), RLELossless)) == (Outcome.CONFLICTING, 2)


async def test_a_first_version_and_its_other_encoding_at_once(node: Node) -> None:
    native = packaged("MR_small.dcm")
    report = await node.store(native, compressed(native, RLELossless))
    assert sorted(stored.outcome for stored in report.stored) == [Outcome.CREATED, Outcome.REVISED]


async def test_an_instance_of_another_study_is_refused(node: Node) -> None:
    data = packaged("CT_small.dcm")
    report = await node.store(data, study="1.2.3")
    (failed,) = report.failed
    assert failed.failure_reason == 0xA901
    assert failed.identity is not None
    assert failed.identity.sop_instance_uid == uid_of(data)
    study = failed.identity.study_instance_uid
    assert (await node.store(data, study=study)).stored


async def test_tenants_share_nothing(node: Node) -> None:
    data = packaged("CT_small.dcm")
    await node.store(data, tenant="a")
    contents = node.contents.stats()
    await node.store(data, tenant="b")
    assert node.contents.stats().contents == 2 * contents.contents
    assert node.contents.stats().dedupe_hits == 0
    assert node.versions(uid_of(data), "a") == node.versions(uid_of(data), "b") == [data]


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    data = packaged("JPEG2000.dcm")
    with open_node(tmp_path) as node:
        await node.store(data)
    with open_node(tmp_path) as node:
        assert node.versions(uid_of(data)) == [data]
        assert await outcome_of(node, data) == (Outcome.REPEATED, 1)


async def test_a_large_object_goes_by_the_disk(tmp_path: Path) -> None:
    data = packaged("CT_small.dcm")
    with open_node(tmp_path, SpoolLimits(threshold_bytes=1000, reserve_bytes=0)) as node:
        await node.store(data)
        assert node.versions(uid_of(data)) == [data]
        assert node.store_service.spool.disk_used_bytes == 0


@dataclass(frozen=True)
class BrokenPart:
    """A part in which the request ends."""

    headers = {"content-type": "application/dicom"}  # noqa: RUF012

    @property
    def body(self) -> AsyncIterator[bytes]:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"some"
            raise MalformedRequest("the connection ended before the request did")

        return chunks()


async def test_what_was_complete_in_a_broken_request_is_stored(node: Node) -> None:
    data = packaged("CT_small.dcm")

    async def parts() -> AsyncIterator[Part | BrokenPart]:
        yield Part(data)
        yield BrokenPart()

    with pytest.raises(MalformedRequest):
        await node.store_service.store(local_admin(), parts(), None)
    assert node.versions(uid_of(data)) == [data]
    assert node.store_service.spool.memory_used_bytes == 0


async def test_a_request_given_up_leaves_nothing_behind(node: Node) -> None:
    data = packaged("CT_small.dcm")
    waiting = asyncio.Event()

    async def parts() -> AsyncIterator[Part]:
        yield Part(data)
        waiting.set()
        await asyncio.Event().wait()

    request = asyncio.create_task(node.store_service.store(local_admin(), parts(), None))
    await waiting.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "take"))
    assert await outcome_of(node, data) == (Outcome.REPEATED, 1), "the complete part was stored"
    assert node.store_service.spool.memory_used_bytes == 0


async def test_no_part_that_holds_dicom(node: Node) -> None:
    with pytest.raises(UnsupportedMedia):
        await node.store_parts(Part(b"x", {"content-type": "text/plain"}))


async def test_an_unknown_part_does_not_fail_the_others(node: Node) -> None:
    report = await node.store_parts(Part(packaged("CT_small.dcm")), Part(b"x", {"content-type": "text/plain"}))
    assert len(report.stored) == len(report.failed) == 1


async def test_no_room_is_said_of_the_whole_request(tmp_path: Path) -> None:
    data = packaged("CT_small.dcm")
    limits = SpoolLimits(threshold_bytes=10, disk_bytes=16 * MIB, reserve_bytes=0, patience_s=0)
    with open_node(tmp_path, limits) as node:
        other = await node.store_service.spool.receive(Part(bytes(1000)).body)
        with pytest.raises(Busy):
            await node.store(data)
        other.close()
        assert (await node.store(data)).stored


async def test_a_full_disk_is_said_of_the_whole_request(tmp_path: Path) -> None:
    with open_node(tmp_path, SpoolLimits(threshold_bytes=10, reserve_bytes=2**60)) as node, pytest.raises(NoSpace):
        await node.store(packaged("CT_small.dcm"))


async def test_an_object_too_large_fails_alone(tmp_path: Path) -> None:
    with open_node(tmp_path, SpoolLimits(max_instance_bytes=100_000, reserve_bytes=0)) as node:
        report = await node.store(bytes(200_000), packaged("CT_small.dcm"))
        assert [failed.http_status for failed in report.failed] == [413]
        assert len(report.stored) == 1


async def test_a_request_of_many_parts_that_are_no_objects_ends_early(node: Node) -> None:
    read = 0

    async def given() -> AsyncIterator[Part]:
        nonlocal read
        yield Part(packaged("CT_small.dcm"))
        while read < 100_000:
            read += 1
            yield Part(b"")

    with pytest.raises(LimitExceeded, match="max_rejected_parts allows 1000") as refused:
        await node.store_service.store(local_admin("main"), given(), None)
    assert refused.value.http_status == 413
    assert read <= MAX_REJECTED_PARTS + 2 * PARTS_AT_ONCE
    assert node.versions(uid_of(packaged("CT_small.dcm"))) == [packaged("CT_small.dcm")], "what came before is stored"


async def test_many_parts_that_this_node_has_no_room_for_are_each_answered(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.store_service, "_max_rejected_parts", 3)

    async def full(*_: object) -> None:
        raise NoSpace(1, 0)

    monkeypatch.setattr(node.store_service.spool, "receive", full)
    with pytest.raises(NoSpace):
        await node.store(*[packaged("CT_small.dcm")] * 10)
