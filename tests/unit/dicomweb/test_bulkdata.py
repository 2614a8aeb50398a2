from __future__ import annotations

import base64
from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian

from nearframe.ids import sha256
from tests.archive import TEST_FILES, Stocked, path_of, rewritten, sample
from tests.multiparts import split_parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

PDF = b"%PDF-1.4\n" + b"0123456789" * 10_000 + b"\n"


def document(uid: str, data: bytes = PDF) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID("2.25.81"), UID("2.25.82")
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(data)
    dataset.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    return rewritten(dataset)


async def test_native_pixel_data_as_one_value(stocked: Stocked) -> None:
    pixels = pydicom.dcmread(TEST_FILES / "rtdose.dcm").PixelData
    path = stocked.path("rtdose.dcm") + "/bulkdata/7FE00010"
    single = await stocked.get(path, "application/octet-stream")
    assert single.content == pixels
    assert single.headers["content-type"] == "application/octet-stream"
    multi = await stocked.get(path, 'multipart/related; type="application/octet-stream"')
    ((head, payload),) = split_parts(multi.content, multi.headers["content-type"])
    assert payload == pixels
    assert f"Content-Length: {len(pixels)}" in head
    assert multi.headers["etag"] != single.headers["etag"]


async def test_ranges(stocked: Stocked) -> None:
    pixels = pydicom.dcmread(TEST_FILES / "rtdose.dcm").PixelData
    path = stocked.path("rtdose.dcm") + "/bulkdata/7FE00010"
    answer = await stocked.get(path, "application/octet-stream", Range="bytes=395-805")
    assert answer.status_code == 206
    assert answer.content == pixels[395:806]


async def test_compressed_pixel_data_is_its_frames(stocked: Stocked) -> None:
    path = stocked.path("examples_ybr_color.dcm") + "/bulkdata/7FE00010"
    answer = await stocked.get(path, 'multipart/related; type="application/octet-stream"; transfer-syntax=*')
    record = stocked.archive.record(stocked.instances["examples_ybr_color.dcm"])
    parts = split_parts(answer.content, answer.headers["content-type"])
    assert [sha256(payload) for _, payload in parts] == [enc for enc, _ in record.frames]


async def test_a_pdf_as_a_viewer_asks_for_it(stocked: Stocked) -> None:
    (stored,) = await stocked.archive.add(document("2.25.83"))
    path = path_of(stored)
    accept = 'multipart/related; type="application/pdf", multipart/related; type="application/octet-stream"'
    answer = await stocked.get(path + "/bulkdata/00420011", accept)
    ((head, payload),) = split_parts(answer.content, answer.headers["content-type"])
    assert head.splitlines()[0] == "Content-Type: application/pdf"
    assert payload == PDF, "without the byte of padding"
    rendered = await stocked.get(path + "/rendered", "*/*")
    assert rendered.headers["content-type"] == "application/pdf"
    assert rendered.content == PDF
    assert (await stocked.get(path + "/rendered", "*/*", Range="bytes=0-7")).content == b"%PDF-1.4"
    assert (await stocked.get(path + "/rendered", "image/jpeg")).status_code == 406
    assert (await stocked.get(path + "/thumbnail", "image/jpeg")).status_code == 406


async def test_a_document_never_names_a_type_that_a_browser_would_run(stocked: Stocked) -> None:
    dataset = pydicom.dcmread(BytesIO(document("2.25.84")))
    dataset.MIMETypeOfEncapsulatedDocument = "text/html"
    (stored,) = await stocked.archive.add(rewritten(dataset))
    answer = await stocked.get(path_of(stored) + "/bulkdata/00420011", "*/*")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_value_inside_a_sequence(stocked: Stocked) -> None:
    """The ECG viewer of OHIF asks for one part of plain bytes."""
    dataset = pydicom.dcmread(TEST_FILES / "waveform_ecg.dcm")
    for index, item in enumerate(dataset.WaveformSequence):
        path = f"{stocked.path('waveform_ecg.dcm')}/bulkdata/54000100/{index}/54001010"
        answer = await stocked.get(path, "application/octet-stream")
        assert answer.content == item.WaveformData


async def test_big_endian_values_come_in_little_endian_order(stocked: Stocked) -> None:
    dataset = pydicom.dcmread(TEST_FILES / "MR_small_bigendian.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.85")
    dataset.StudyInstanceUID = UID("2.25.86")
    item = Dataset()
    item.add_new(0x00283006, "OW", bytes(range(256)) * 400)
    dataset.VOILUTSequence = Sequence([item])
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    (stored,) = await stocked.archive.add(rewritten(dataset))
    path = path_of(stored) + "/bulkdata/00283010/0/00283006"
    whole = (await stocked.get(path, "application/octet-stream")).content
    assert whole[:4] == b"\1\0\3\2"
    part = await stocked.get(path, "application/octet-stream", Range="bytes=1-6")
    assert part.content == whole[1:7]
    decoded = await stocked.get(path_of(stored), "application/dicom")
    found = pydicom.dcmread(BytesIO(decoded.content))
    assert found.VOILUTSequence[0][0x00283006].value == whole


@pytest.mark.parametrize("path", ["00100010x", "7FE00011", "54000100/9/54001010", "54000100", "../x", "0/0", "zz"])
async def test_what_is_not_there(stocked: Stocked, path: str) -> None:
    answer = await stocked.get(f"{stocked.path('waveform_ecg.dcm')}/bulkdata/{path}", "*/*")
    assert answer.status_code == 404


async def test_inline_values_have_an_address_too(stocked: Stocked) -> None:
    metadata = (await stocked.get(stocked.path("examples_palette.dcm") + "/metadata")).json()[0]
    answer = await stocked.get(stocked.path("examples_palette.dcm") + "/bulkdata/00281201", "*/*")
    assert answer.content == base64.b64decode(metadata["00281201"]["InlineBinary"])


async def test_deflated_objects(stocked: Stocked) -> None:
    pixels = pydicom.dcmread(TEST_FILES / "image_dfl.dcm").PixelData
    answer = await stocked.get(stocked.path("image_dfl.dcm") + "/bulkdata/7FE00010", "application/octet-stream")
    assert answer.content == pixels
    assert len(sample("image_dfl.dcm")) < len(pixels)
