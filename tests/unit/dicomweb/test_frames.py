"""Frames on the wire: what viewers were seen to need (labels, validators, ranges, lengths)."""

from __future__ import annotations

import asyncio

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from nearframe.ids import sha256
from nearframe.query import retrieve_frames
from nearframe.wire.mediatype import parse_media_type
from tests.archive import TEST_FILES, Stocked, path_of, rewritten
from tests.multiparts import split_parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"
ELE = "1.2.840.10008.1.2.1"
HTJ2K = "1.2.840.10008.1.2.4.202"


async def test_a_viewers_request_gets_the_stored_frame_labelled(stocked: Stocked) -> None:
    answer = await stocked.get(stocked.path("examples_ybr_color.dcm") + "/frames/3", OHIF)
    assert answer.status_code == 200
    ((head, payload),) = split_parts(answer.content, answer.headers["content-type"])
    assert head.splitlines()[0] == "Content-Type: application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.50"
    assert payload[:2] == b"\xff\xd8"
    record = stocked.archive.record(stocked.instances["examples_ybr_color.dcm"])
    assert sha256(payload) == record.frames.enc_of(2)
    assert answer.headers["etag"].startswith(f'"{record.frames.enc_of(2).hex()}-m')
    outer = parse_media_type(answer.headers["content-type"]).parameters
    assert outer["type"] == "application/octet-stream"
    assert outer["transfer-syntax"] == "1.2.840.10008.1.2.4.50"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in answer.headers


DECODED = [
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "image_dfl.dcm",
    "examples_jpeg2k.dcm",
    "JPEGLSNearLossless_16.dcm",
    "SC_rgb_rle_2frame.dcm",
    "rtdose.dcm",
]


@pytest.mark.parametrize("name", DECODED)
async def test_octet_stream_means_native_little_endian_pixels(stocked: Stocked, name: str) -> None:
    answer = await stocked.get(stocked.path(name) + "/frames/1", "application/octet-stream")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"application/octet-stream; transfer-syntax={ELE}"
    expected = pydicom.dcmread(TEST_FILES / name).pixel_array
    expected = expected[0] if name in ("rtdose.dcm", "SC_rgb_rle_2frame.dcm") else expected
    found = np.frombuffer(answer.content, expected.dtype.newbyteorder("<"))
    assert np.array_equal(found.reshape(expected.shape), expected)


SAME_PIXELS = [
    ("image/jphc", HTJ2K),
    ("image/jls", "1.2.840.10008.1.2.4.80"),
    ("image/jp2", "1.2.840.10008.1.2.4.90"),
    ("image/dicom-rle", "1.2.840.10008.1.2.5"),
    ("image/x-jls", "1.2.840.10008.1.2.4.80"),
]


@pytest.mark.parametrize(("essence", "syntax"), SAME_PIXELS)
async def test_lossless_encodings_on_request(stocked: Stocked, essence: str, syntax: str) -> None:
    answer = await stocked.get(stocked.path("CT_small.dcm") + "/frames/1", essence)
    assert answer.headers["content-type"] == f"{essence}; transfer-syntax={syntax}"
    assert len(answer.content) < 32768


async def test_a_lossy_original_is_never_encoded_again(stocked: Stocked) -> None:
    path = stocked.path("examples_ybr_color.dcm") + "/frames/1"
    assert (await stocked.get(path, "image/jls")).status_code == 406
    assert (await stocked.get(path, "image/jphc")).status_code == 406
    decoded = await stocked.get(path, "application/octet-stream")
    assert len(decoded.content) == 240 * 320 * 3


async def test_what_only_an_archive_reads_is_decoded_first(stocked: Stocked) -> None:
    answer = await stocked.get(stocked.path("MR_small_bigendian.dcm") + "/frames/1", OHIF)
    assert parse_media_type(answer.headers["content-type"]).parameters["transfer-syntax"] == ELE


async def test_lists_come_in_the_order_asked(stocked: Stocked) -> None:
    answer = await stocked.get(stocked.path("examples_ybr_color.dcm") + "/frames/7,2,30", OHIF)
    record = stocked.archive.record(stocked.instances["examples_ybr_color.dcm"])
    parts = split_parts(answer.content, answer.headers["content-type"])
    assert [sha256(payload) for _, payload in parts] == [record.frames.enc_of(n) for n in (6, 1, 29)]
    assert answer.headers["content-length"] == str(len(answer.content))
    ranged = await stocked.get(str(answer.url), OHIF, Range="bytes=5000-20000")
    assert ranged.status_code == 206
    assert ranged.content == answer.content[5000:20001]


async def test_several_frames_need_a_multipart_answer(stocked: Stocked) -> None:
    answer = await stocked.get(stocked.path("rtdose.dcm") + "/frames/1,2", "application/octet-stream")
    assert answer.status_code == 406
    assert "multipart/related" in answer.json()["detail"]


@pytest.mark.parametrize("frames", ["31", "1,31"])
async def test_a_missing_frame_is_not_found(stocked: Stocked, frames: str) -> None:
    answer = await stocked.get(stocked.path("examples_ybr_color.dcm") + f"/frames/{frames}", OHIF)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("frames", ["0", "-1", "x", "1,,2", "1-3", "1,", "9" * 30, "1;2", "²"])
async def test_frames_that_are_no_numbers(stocked: Stocked, frames: str) -> None:
    answer = await stocked.get(stocked.path("CT_small.dcm") + f"/frames/{frames}", OHIF)
    assert answer.status_code == 400


@pytest.mark.parametrize("query", ["", "?accept=multipart/related"])
async def test_a_known_frame_is_not_sent_again(stocked: Stocked, query: str) -> None:
    path = stocked.path("CT_small.dcm") + "/frames/1" + query
    first = await stocked.get(path, OHIF)
    for known in (first.headers["etag"], f'"other", {first.headers["etag"]}', "*", "W/" + first.headers["etag"]):
        again = await stocked.get(path, OHIF, If_None_Match=known)
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == first.headers["etag"]
    other = await stocked.get(path, OHIF, If_None_Match='"other"')
    assert other.status_code == 200


async def test_every_representation_has_its_own_validator(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm") + "/frames/1"
    forms = [OHIF, "application/octet-stream", "image/jphc", "image/jls", 'multipart/related; type="image/jphc"']
    etags = {(await stocked.get(path, form)).headers["etag"] for form in forms}
    assert len(etags) == len(forms)


async def test_ranges_of_the_whole_body(stocked: Stocked) -> None:
    """Cornerstone joins ranges of the multipart body: they must be those of the whole answer."""
    path = stocked.path("CT_small.dcm") + "/frames/1"
    whole = await stocked.get(path, OHIF)
    size = len(whole.content)
    first = await stocked.get(path, OHIF, Range="bytes=0-9999")
    rest = await stocked.get(path, OHIF, Range="bytes=10000-")
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.content + rest.content == whole.content
    assert first.headers["content-range"] == f"bytes 0-9999/{size}"
    assert rest.headers["content-range"] == f"bytes 10000-{size - 1}/{size}"
    assert first.headers["etag"] == whole.headers["etag"]
    assert first.headers["content-length"] == "10000"
    assert (await stocked.get(path, OHIF, Range="bytes=-5")).content == whole.content[-5:]


async def test_if_range(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm") + "/frames/1"
    etag = (await stocked.get(path, OHIF)).headers["etag"]
    assert (await stocked.get(path, OHIF, Range="bytes=0-9", If_Range=etag)).status_code == 206
    assert (await stocked.get(path, OHIF, Range="bytes=0-9", If_Range='"old"')).status_code == 200


async def test_several_ranges(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm") + "/frames/1"
    whole = (await stocked.get(path, "application/octet-stream")).content
    answer = await stocked.get(path, "application/octet-stream", Range="bytes=0-9,100-109")
    assert answer.status_code == 206
    boundary = parse_media_type(answer.headers["content-type"]).parameters["boundary"].encode()
    _, first, second, _ = answer.content.split(b"--" + boundary)
    assert first.endswith(whole[:10] + b"\r\n")
    assert b"Content-Range: bytes 100-109/32768" in second
    assert second.endswith(whole[100:110] + b"\r\n")
    assert answer.headers["content-length"] == str(len(answer.content))


async def test_a_range_outside(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm") + "/frames/1"
    answer = await stocked.get(path, "application/octet-stream", Range="bytes=99999999-")
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */32768"


async def test_head(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm") + "/frames/1"
    whole = await stocked.get(path, OHIF)
    head = await stocked.client.head(path, headers={"Accept": OHIF})
    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-length", "content-type", "etag", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


async def test_the_accept_parameter_wins(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm") + "/frames/1?accept=image%2Fjphc"
    assert (await stocked.get(path, OHIF)).headers["content-type"].startswith("image/jphc")


async def test_nothing_fits(stocked: Stocked) -> None:
    answer = await stocked.get(stocked.path("CT_small.dcm") + "/frames/1", "text/html")
    problem = answer.json()
    assert answer.status_code == problem["status"] == 406
    assert problem["title"] == "Not Acceptable"
    assert f"application/octet-stream; transfer-syntax={ELE}" in problem["available"]


async def test_an_object_without_frames(stocked: Stocked) -> None:
    assert (await stocked.get(stocked.path("test-SR.dcm") + "/frames/1", OHIF)).status_code == 404


async def test_the_uids_must_belong_together(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm")
    other = stocked.instances["test-SR.dcm"].identity.study_instance_uid
    moved = path.replace(stocked.instances["CT_small.dcm"].identity.study_instance_uid, other)
    assert (await stocked.get(moved + "/frames/1", OHIF)).status_code == 404


async def test_a_changed_instance_shows_at_once_and_the_old_version_stays(stocked: Stocked) -> None:
    dataset = pydicom.dcmread(TEST_FILES / "MR_small.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.4711")
    dataset.StudyInstanceUID = UID("2.25.4710")
    (first,) = await stocked.archive.add(rewritten(dataset))
    path = path_of(first) + "/frames/1"
    before = await stocked.get(path, OHIF)
    dataset.PatientName = "Corrected^Name"
    (second,) = await stocked.archive.add(rewritten(dataset))
    after = await stocked.get(path, OHIF, If_None_Match=before.headers["etag"])
    assert second.version == 2
    assert after.status_code == 304, "the pixels are the same: nothing is sent"
    old = await stocked.get(path + "?version=1", OHIF)
    assert old.headers["etag"] == before.headers["etag"]
    assert (await stocked.get(path + "?version=9", OHIF)).status_code == 404
    assert (await stocked.get(path + "?version=x", OHIF)).status_code == 400


async def test_transcoding_is_done_once_for_all_who_wait(stocked: Stocked) -> None:
    path = stocked.path("examples_jpeg2k.dcm") + "/frames/1"
    before = stocked.archive.services.frames.transcoded
    answers = await asyncio.gather(*(stocked.get(path, "image/jls") for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {200, 406}
    assert stocked.archive.services.frames.transcoded - before <= 1


async def test_a_list_of_few_frames_has_a_length_before_they_are_made(stocked: Stocked) -> None:
    path = stocked.path("SC_rgb_rle_2frame.dcm") + "/frames/2,1"
    answer = await stocked.get(path, 'multipart/related; type="image/jphc"')
    assert answer.headers["content-length"] == str(len(answer.content))
    assert len(split_parts(answer.content, answer.headers["content-type"])) == 2


async def test_a_list_of_many_frames_is_made_while_it_is_sent(
    stocked: Stocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieve_frames, "MADE_AHEAD_BYTES", 1000)
    path = stocked.path("SC_rgb_rle_2frame.dcm") + "/frames/2,1"
    answer = await stocked.get(path, 'multipart/related; type="image/jls"')
    assert "content-length" not in answer.headers
    assert len(split_parts(answer.content, answer.headers["content-type"])) == 2
