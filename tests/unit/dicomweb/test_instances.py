"""Whole instances: byte for byte as stored, or rewritten so that other readers agree."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from nearframe.wire.mediatype import parse_media_type
from tests.archive import FILES, TEST_FILES, Stocked, path_of, rewritten, sample
from tests.multiparts import split_parts

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI"),  # rtdose has such UIDs
]

ELE = "1.2.840.10008.1.2.1"
HTJ2K = "1.2.840.10008.1.2.4.202"
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def read(data: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(BytesIO(data))


@pytest.mark.parametrize("name", FILES)
async def test_as_stored_means_byte_for_byte(stocked: Stocked, name: str) -> None:
    answer = await stocked.get(stocked.path(name), "application/dicom; transfer-syntax=*")
    assert answer.content == sample(name)
    record = stocked.archive.record(stocked.instances[name])
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={record.transfer_syntax_uid}"
    assert answer.headers["content-length"] == str(len(sample(name)))
    assert answer.headers["etag"].startswith(f'"{record.file.hex()}')


async def test_dicomweb_clients_form(stocked: Stocked) -> None:
    answer = await stocked.get(stocked.path("examples_jpeg2k.dcm"), AS_STORED)
    ((head, payload),) = split_parts(answer.content, answer.headers["content-type"])
    assert head.splitlines()[0] == "Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"
    assert f"Content-Location: http://archive.test{stocked.path('examples_jpeg2k.dcm')}" in head
    assert payload == sample("examples_jpeg2k.dcm")


async def test_ranges_of_a_file(stocked: Stocked) -> None:
    accept = "application/dicom; transfer-syntax=*"
    whole = sample("examples_ybr_color.dcm")
    for start, stop in ((0, 100), (1000, 30000), (len(whole) - 5, len(whole))):
        answer = await stocked.get(stocked.path("examples_ybr_color.dcm"), accept, Range=f"bytes={start}-{stop - 1}")
        assert answer.status_code == 206
        assert answer.content == whole[start:stop]


LOSSLESS = [
    *(
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
        "image_dfl.dcm",
        "examples_jpeg2k.dcm",
        "SC_rgb_rle_2frame.dcm",
    ),
    *("rtdose.dcm", "examples_palette.dcm", "test-SR.dcm", "waveform_ecg.dcm", "examples_overlay.dcm"),
]


@pytest.mark.parametrize("name", LOSSLESS)
async def test_without_a_transfer_syntax_explicit_little_endian_is_meant(stocked: Stocked, name: str) -> None:
    answer = await stocked.get(stocked.path(name), "application/dicom")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={ELE}"
    found, expected = read(answer.content), read(sample(name))
    assert found.file_meta.TransferSyntaxUID == ELE
    assert found.file_meta.MediaStorageSOPInstanceUID == expected.SOPInstanceUID
    if "PixelData" in expected:
        assert np.array_equal(found.pixel_array, expected.pixel_array)
    ignored = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration", "ExtendedOffsetTable"}
    assert_same_elements(found, expected, ignored)


def assert_same_elements(found: pydicom.Dataset, expected: pydicom.Dataset, ignored: set[str]) -> None:
    keep = [e for e in expected if e.tag.element != 0 and e.keyword not in ignored]
    assert [e.tag for e in found if e.keyword not in ignored] == [e.tag for e in keep]
    for element in keep:
        other = found[element.tag]
        if element.VR == "SQ":
            for one, two in zip(other.value, element.value, strict=True):
                assert_same_elements(one, two, set())
        elif element.VR in ("OW", "OB", "UN") or other.VR in ("OW", "OB", "UN"):
            assert len(other.value or b"") == len(element.value or b"")
        else:
            assert other.value == element.value, element.tag


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "examples_jpeg2k.dcm"])
async def test_lossless_encodings_of_whole_instances(stocked: Stocked, name: str) -> None:
    answer = await stocked.get(stocked.path(name), f"application/dicom; transfer-syntax={HTJ2K}")
    found, expected = read(answer.content), read(sample(name))
    assert found.file_meta.TransferSyntaxUID == HTJ2K
    assert np.array_equal(found.pixel_array, expected.pixel_array)


async def test_a_lossy_original_goes_as_stored_unless_decoding_is_asked_for(stocked: Stocked) -> None:
    """PS3.18 section 8.7.3.5.2: Explicit VR Little Endian, unless there is only a lossy form."""
    name = "examples_ybr_color.dcm"
    unnamed = await stocked.get(stocked.path(name), "application/dicom")
    assert unnamed.content == sample(name)
    decoded = await stocked.get(stocked.path(name), f"application/dicom; transfer-syntax={ELE}")
    found = read(decoded.content)
    assert found.file_meta.TransferSyntaxUID == ELE
    assert found.PhotometricInterpretation == "RGB"
    assert found.PlanarConfiguration == 0
    assert found.LossyImageCompression == "01"
    assert found.pixel_array.shape == (30, 240, 320, 3)
    assert decoded.headers["content-length"] == str(len(decoded.content))
    refused = await stocked.get(stocked.path(name), f"application/dicom; transfer-syntax={HTJ2K}")
    assert refused.status_code == 406


async def test_a_part_of_a_decoded_file(stocked: Stocked) -> None:
    path, accept = stocked.path("MR_small_bigendian.dcm"), f"application/dicom; transfer-syntax={ELE}"
    whole = (await stocked.get(path, accept)).content
    for start, stop in ((0, 500), (1001, 4003), (len(whole) - 3, len(whole))):
        answer = await stocked.get(path, accept, Range=f"bytes={start}-{stop - 1}")
        assert answer.content == whole[start:stop]


async def test_the_instances_of_a_series_and_a_study(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm")
    for parent in (path.rsplit("/instances", 1)[0], path.rsplit("/series", 1)[0]):
        answer = await stocked.get(parent, 'multipart/related; type="application/dicom"')
        ((_, payload),) = split_parts(answer.content, answer.headers["content-type"])
        assert payload == sample("CT_small.dcm")
        outer = parse_media_type(answer.headers["content-type"]).parameters
        assert (outer["type"], outer["transfer-syntax"]) == ("application/dicom", ELE)
        assert (await stocked.get(parent, AS_STORED, If_None_Match="*")).status_code == 304


async def test_what_is_not_here(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm")
    study, series = path.rsplit("/series", 1)[0], path.rsplit("/instances", 1)[0]
    for missing in ("/dicomweb/studies/1.2.3", study + "/series/1.2.3", series + "/instances/1.2.3"):
        for resource in ("", "/metadata"):
            answer = await stocked.get(missing + resource, "*/*")
            assert answer.status_code == 404, missing + resource
            assert answer.json()["title"] == "Not Found"


async def test_a_version_by_its_number(stocked: Stocked) -> None:
    for name in ("CT_small.dcm", "image_dfl.dcm"):
        answer = await stocked.get(stocked.path(name) + "?version=1", "application/dicom; transfer-syntax=*")
        assert answer.content == sample(name)


async def test_a_study_as_it_was_at_a_sequence(stocked: Stocked) -> None:
    study = stocked.path("CT_small.dcm").rsplit("/series", 1)[0]
    assert (await stocked.get(study + "?version=0", AS_STORED)).status_code in (200, 404)
    record = stocked.archive.record(stocked.instances["CT_small.dcm"])
    seq = stocked.archive.catalogue.state(record.study)
    answer = await stocked.get(f"{study}?version={seq}", AS_STORED)
    assert len(split_parts(answer.content, answer.headers["content-type"])) == 1


def undecodable(uid: str, study: str) -> bytes:
    """Return an image whose JPEG 2000 stream says another size than its header."""
    dataset = pydicom.dcmread(TEST_FILES / "MR_small_jp2klossless.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    dataset.StudyInstanceUID = UID(study)
    dataset.Rows = 7
    return rewritten(dataset)


async def test_what_cannot_be_decoded_goes_as_stored_or_says_so(stocked: Stocked) -> None:
    data = undecodable("2.25.601", "2.25.600")
    good = pydicom.dcmread(TEST_FILES / "MR_small_jp2klossless.dcm")
    good.SOPInstanceUID = good.file_meta.MediaStorageSOPInstanceUID = UID("2.25.602")
    good.StudyInstanceUID = UID("2.25.600")
    stored, _ = await stocked.archive.add(data, rewritten(good))
    path = path_of(stored)
    default = await stocked.get(path, "application/dicom")
    assert default.content == data
    for resource, accept in (
        ("", f"application/dicom; transfer-syntax={ELE}"),
        ("/frames/1", "application/octet-stream"),
        ("/rendered", "image/jpeg"),
    ):
        answer = await stocked.get(path + resource, accept)
        assert answer.status_code == 406, resource
        assert "as stored" in answer.json()["detail"]
    study = await stocked.get("/dicomweb/studies/2.25.600", 'multipart/related; type="application/dicom"')
    parts = split_parts(study.content, study.headers["content-type"])
    syntaxes = {head.splitlines()[0].rpartition("=")[2] for head, _ in parts}
    assert syntaxes == {ELE, "1.2.840.10008.1.2.4.90"}
    assert data in [payload for _, payload in parts]


@pytest.mark.parametrize("name", ["CT_small.dcm", "SC_rgb_rle_2frame.dcm", "image_dfl.dcm", "MR_small_bigendian.dcm"])
@pytest.mark.parametrize("accept", ["application/dicom", 'multipart/related; type="application/dicom"'])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.202", "*"])
async def test_an_instance_has_a_length_and_ranges_in_every_form(
    stocked: Stocked, name: str, accept: str, syntax: str
) -> None:
    accept = f"{accept}; transfer-syntax={syntax}"
    answer = await stocked.get(stocked.path(name), accept)
    assert answer.headers["content-length"] == str(len(answer.content))
    part = await stocked.get(stocked.path(name), accept, range="bytes=2000-4999")
    assert part.content == answer.content[2000:5000]
