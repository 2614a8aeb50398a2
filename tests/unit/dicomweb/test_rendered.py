"""Pictures for people, video for browsers."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG4HP41, UID

from tests.archive import TEST_FILES, Stocked, path_of, rewritten
from tests.multiparts import split_parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: The beginning of an MP4 file, and enough after it for ranges.
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(256)) * 400


def picture(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def video(uid: str) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = MPEG4HP41
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.77.1.4.1")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID("2.25.91"), UID("2.25.92")
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 64, 64, 2
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 3, 8, 8, 7
    dataset.PixelRepresentation, dataset.PlanarConfiguration = 0, 0
    dataset.PhotometricInterpretation = "YBR_PARTIAL_420"
    dataset.PixelData = encapsulate([MP4], has_bot=False)
    dataset["PixelData"].VR = "OB"
    return rewritten(dataset)


async def test_the_first_picture_of_a_viewer(stocked: Stocked) -> None:
    answer = await stocked.get(stocked.path("CT_small.dcm") + "/rendered", "image/jpeg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["etag"]
    assert picture(answer.content).size == (128, 128)


SHOWN = ["CT_small.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "examples_jpeg2k.dcm", "examples_ybr_color.dcm",
         "SC_rgb_rle_2frame.dcm", "rtdose.dcm", "examples_palette.dcm", "liver_1frame.dcm"]  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
async def test_every_kind_of_picture(stocked: Stocked, name: str) -> None:
    for resource in ("/rendered", "/thumbnail", "/frames/1/rendered", "/frames/1/thumbnail"):
        answer = await stocked.get(stocked.path(name) + resource, "image/png")
        assert answer.status_code == 200, (resource, answer.text)
        assert picture(answer.content).format == "PNG"


async def test_thumbnails_at_every_level(stocked: Stocked) -> None:
    path = stocked.path("examples_ybr_color.dcm")
    for level in (path.rsplit("/series", 1)[0], path.rsplit("/instances", 1)[0], path, path + "/frames/2"):
        answer = await stocked.get(level + "/thumbnail", "image/jpeg")
        assert answer.status_code == 200
        assert max(picture(answer.content).size) <= 256


async def test_ohif_asks_for_octets_and_means_a_picture(stocked: Stocked) -> None:
    junk = 'multipart/related; type="application/octet-stream"'
    for resource in ("/thumbnail", "/rendered"):
        answer = await stocked.get(f"{stocked.path('CT_small.dcm')}{resource}?accept=image%2Fjpeg", junk)
        assert answer.headers["content-type"] == "image/jpeg"
        assert (await stocked.get(stocked.path("CT_small.dcm") + resource, junk)).status_code == 406


async def test_an_image_element_gets_a_picture(stocked: Stocked) -> None:
    header = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
    answer = await stocked.get(stocked.path("CT_small.dcm") + "/thumbnail", header)
    assert picture(answer.content).format == "JPEG"


async def test_viewport_window_and_quality(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm") + "/rendered"
    small = await stocked.get(path + "?viewport=64,32", "image/png")
    assert picture(small.content).size == (32, 32)
    dark = await stocked.get(path + "?window=4000,10,linear", "image/png")
    assert picture(dark.content).getextrema() == (0, 0)
    sizes = [len((await stocked.get(f"{path}?quality={q}", "image/jpeg")).content) for q in (10, 95)]
    assert sizes[0] < sizes[1]


WRONG = [
    "viewport=1",
    "viewport=a,b",
    "window=1",
    "window=1,2,cubic",
    "quality=0",
    "quality=101",
    "quality=x",
    "window=nan,1",
]


@pytest.mark.parametrize("query", WRONG)
async def test_parameters_that_make_no_sense(stocked: Stocked, query: str) -> None:
    answer = await stocked.get(f"{stocked.path('CT_small.dcm')}/rendered?{query}", "image/jpeg")
    assert answer.status_code == 400


async def test_several_frames(stocked: Stocked) -> None:
    path = stocked.path("examples_ybr_color.dcm") + "/frames/1,5/rendered"
    answer = await stocked.get(path, 'multipart/related; type="image/jpeg"')
    parts = split_parts(answer.content, answer.headers["content-type"])
    assert [picture(payload).size for _, payload in parts] == [(320, 240)] * 2
    assert (await stocked.get(path, "image/jpeg")).status_code == 406
    moving = picture((await stocked.get(path, "image/gif")).content)
    assert getattr(moving, "n_frames", 1) == 2


async def test_the_pictures_of_a_series(stocked: Stocked) -> None:
    series = stocked.path("CT_small.dcm").rsplit("/instances", 1)[0]
    answer = await stocked.get(series + "/rendered", 'multipart/related; type="image/jpeg"')
    ((head, payload),) = split_parts(answer.content, answer.headers["content-type"])
    assert head.startswith("Content-Type: image/jpeg")
    assert picture(payload).size == (128, 128)
    single = await stocked.get(series + "/rendered", "image/jpeg")
    assert picture(single.content).size == (128, 128)


async def test_a_video_element_gets_the_stored_stream_in_ranges(stocked: Stocked) -> None:
    """As Chromium asks: Accept */*, Range: bytes=0-, no credentials."""
    (stored,) = await stocked.archive.add(video("2.25.93"))
    path = path_of(stored)
    answer = await stocked.get(path + "/rendered", "*/*", Range="bytes=0-")
    assert answer.status_code == 206
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-range"] == f"bytes 0-{len(MP4) - 1}/{len(MP4)}"
    assert answer.content == MP4
    assert (await stocked.get(path + "/rendered", "video/mp4", Range="bytes=1000-1999")).content == MP4[1000:2000]
    assert (await stocked.get(path + "/bulkdata/7FE00010", "video/mp4")).content == MP4
    assert (await stocked.get(path + "/thumbnail", "image/jpeg")).status_code == 406
    stored_form = await stocked.get(path, "application/dicom")
    assert stored_form.content == video("2.25.93"), "what cannot be decoded goes as stored"


async def test_an_object_with_nothing_to_show(stocked: Stocked) -> None:
    for resource in ("/rendered", "/thumbnail"):
        answer = await stocked.get(stocked.path("test-SR.dcm") + resource, "image/jpeg")
        assert answer.status_code == 406


async def test_tables_that_are_not_inline_are_fetched(stocked: Stocked) -> None:
    dataset = pydicom.dcmread(TEST_FILES / "examples_palette.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.94")
    expected = picture((await stocked.get(stocked.path("examples_palette.dcm") + "/rendered", "image/png")).content)
    entries = dataset.RedPaletteColorLookupTableDescriptor[0] or 65536
    for colour in ("Red", "Green", "Blue"):
        # The same table with 65536 entries: 128 KiB each, far too large to be inline.
        data = getattr(dataset, f"{colour}PaletteColorLookupTableData")
        last = data[-2:]
        setattr(dataset, f"{colour}PaletteColorLookupTableData", data + last * (65536 - entries))
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [0, 0, 16])
    (stored,) = await stocked.archive.add(rewritten(dataset))
    metadata = (await stocked.get(path_of(stored) + "/metadata")).json()[0]
    assert "BulkDataURI" in metadata["00281201"]
    found = picture((await stocked.get(path_of(stored) + "/rendered", "image/png")).content)
    assert found.tobytes() == expected.tobytes()
