"""Store requests of metadata and bulk data."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from nearframe.dicom.describe import describe
from nearframe.dicom.dicomxml import to_xml
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource
from nearframe.errors import LimitExceeded
from nearframe.intake.assemble import MAX_JSON_VALUES
from nearframe.intake.spool import SpoolLimits
from nearframe.storage.ports import Outcome
from tests.integration.origin.conftest import Node, Part, open_node
from tests.integration.origin.test_ingest import packaged, uid_of

LOCATION = "https://sender/bulk/1"


def metadata_of(name: str, uri: str = LOCATION) -> dict[str, Any]:
    """Return the metadata of a packaged object, its pixels by `uri`."""
    metadata = describe(parse(BytesSource(packaged(name)))).metadata
    metadata["7FE00010"] = {"vr": "OW", "BulkDataURI": uri}
    return metadata


def json_part(*instances: dict[str, Any]) -> Part:
    return Part(json.dumps(instances).encode(), {"content-type": "application/dicom+json"})


def bulk_part(data: bytes, content_type: str = "application/octet-stream", location: str = LOCATION) -> Part:
    return Part(data, {"content-type": content_type, "content-location": location})


def stored_file(node: Node, uid: str) -> pydicom.Dataset:
    (data,) = node.versions(uid)
    return pydicom.dcmread(io.BytesIO(data))


async def test_json_and_native_pixels(node: Node) -> None:
    data = packaged("CT_small.dcm")
    pixels = pydicom.dcmread(io.BytesIO(data)).PixelData
    report = await node.store_parts(json_part(metadata_of("CT_small.dcm")), bulk_part(pixels))
    assert [stored.outcome for stored in report.stored] == [Outcome.CREATED]
    assert not report.failed
    stored = stored_file(node, uid_of(data))
    assert stored.PixelData == pixels
    assert stored.PatientName == pydicom.dcmread(io.BytesIO(data)).PatientName


async def test_the_file_itself_is_then_the_same_picture(node: Node) -> None:
    data = packaged("CT_small.dcm")
    pixels = pydicom.dcmread(io.BytesIO(data)).PixelData
    await node.store_parts(json_part(metadata_of("CT_small.dcm")), bulk_part(pixels))
    (stored,) = (await node.store(data)).stored
    assert stored.outcome is Outcome.REVISED


async def test_xml_metadata(node: Node) -> None:
    data = packaged("MR_small.dcm")
    pixels = pydicom.dcmread(io.BytesIO(data)).PixelData
    document = Part(to_xml(metadata_of("MR_small.dcm")), {"content-type": "application/dicom+xml; charset=utf-8"})
    report = await node.store_parts(document, bulk_part(pixels))
    assert len(report.stored) == 1
    assert stored_file(node, uid_of(data)).PixelData == pixels


async def test_compressed_frames_one_part_each(node: Node) -> None:
    name = "examples_ybr_color.dcm"
    ds = pydicom.dcmread(io.BytesIO(packaged(name)))
    frames = list(generate_frames(ds.PixelData, number_of_frames=int(ds.NumberOfFrames)))
    report = await node.store_parts(json_part(metadata_of(name)), *(bulk_part(frame, "image/jpeg") for frame in frames))
    assert not report.failed
    stored = stored_file(node, uid_of(packaged(name)))
    assert stored.file_meta.TransferSyntaxUID == pydicom.uid.JPEGBaseline8Bit
    assert np.array_equal(stored.pixel_array, ds.pixel_array)


async def test_several_instances_share_a_request(node: Node) -> None:
    names = {"CT_small.dcm": "a", "MR_small.dcm": "b"}
    parts = [bulk_part(pydicom.dcmread(io.BytesIO(packaged(n))).PixelData, location=uri) for n, uri in names.items()]
    report = await node.store_parts(json_part(*(metadata_of(n, uri) for n, uri in names.items())), *parts)
    assert len(report.stored) == 2


async def test_bulk_data_that_did_not_come(node: Node) -> None:
    report = await node.store_parts(json_part(metadata_of("CT_small.dcm")), bulk_part(b"", location="elsewhere"))
    (failed,) = report.failed
    assert failed.failure_reason == 0xC000
    assert failed.identity is not None
    assert failed.identity.sop_instance_uid == uid_of(packaged("CT_small.dcm"))


@pytest.mark.parametrize("document", [b"", b"{", b"[1]", b'"text"', b"[" * 100_000, b"\xff\xfe"])
async def test_metadata_that_is_none(node: Node, document: bytes) -> None:
    report = await node.store_parts(Part(document, {"content-type": "application/dicom+json"}))
    assert [failed.failure_reason for failed in report.failed] == [0xC000]


@pytest.mark.parametrize("document", [b"[" + b"{}," * MAX_JSON_VALUES + b"{}]", b"[" + b"{}," * 20_000 + b"{}]"])
async def test_metadata_that_would_outgrow_memory(node: Node, document: bytes) -> None:
    report = await node.store_parts(Part(document, {"content-type": "application/dicom+json"}))
    assert [failed.failure_reason for failed in report.failed] == [LimitExceeded.failure_reason]


async def test_metadata_without_uids(node: Node) -> None:
    report = await node.store_parts(json_part({}), Part(b"<x/>", {"content-type": "application/dicom+xml"}))
    assert len(report.failed) == 2


async def test_pixels_of_an_unknown_type(node: Node) -> None:
    report = await node.store_parts(json_part(metadata_of("CT_small.dcm")), bulk_part(b"x", "text/plain"))
    assert len(report.failed) == 1


async def test_waiting_parts_are_bounded_and_let_go(tmp_path: Any) -> None:
    with open_node(tmp_path, SpoolLimits(threshold_bytes=1000, reserve_bytes=0)) as node:
        pixels = pydicom.dcmread(io.BytesIO(packaged("CT_small.dcm"))).PixelData
        await node.store_parts(json_part(metadata_of("CT_small.dcm")), bulk_part(pixels))
        assert len(node.versions(uid_of(packaged("CT_small.dcm")))) == 1
        spool = node.store_service.spool
        assert spool.memory_used_bytes == spool.disk_used_bytes == 0
