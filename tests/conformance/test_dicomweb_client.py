"""The whole round trip of dicomweb-client for Python, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
import pytest_asyncio
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.uid import UID

from nearframe.listener.testing import running
from tests.archive import Archive, open_archive, sample

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # The client has no way to close its session; pydicom checks UIDs of its own test files.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI"),
]

LOSSY = "examples_ybr_color.dcm"
NAMES = (
    "CT_small.dcm",
    LOSSY,
    "examples_jpeg2k.dcm",
    "rtdose.dcm",
    "waveform_ecg.dcm",
    "test-SR.dcm",
)


class Peer:
    """The client, each call on a thread of its own: it blocks."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = DICOMwebClient(url, chunk_size=100_000)

    async def __call__(self, method: str, *arguments: Any, **named: Any) -> Any:
        return await asyncio.to_thread(self._call, method, arguments, named)

    def _call(self, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        result = getattr(self.client, method)(*arguments, **named)
        return list(result) if hasattr(result, "__next__") else result


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def archive(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Archive]:
    async with open_archive(tmp_path_factory.mktemp("conformance")) as archive:
        yield archive


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer(archive: Archive) -> AsyncIterator[Peer]:
    async with running(archive.app) as url:
        peer = Peer(url + "/dicomweb")
        datasets = [pydicom.dcmread(BytesIO(sample(name))) for name in NAMES]
        stored = await peer("store_instances", datasets=datasets)
        assert len(stored.ReferencedSOPSequence) == len(NAMES)
        assert "FailedSOPSequence" not in stored
        yield peer


def uids(name: str) -> tuple[str, str, str]:
    dataset = pydicom.dcmread(BytesIO(sample(name)))
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


async def test_searches(peer: Peer) -> None:
    study, series, instance = uids("CT_small.dcm")
    studies = await peer("search_for_studies", search_filters={"StudyInstanceUID": study}, fields=["StudyDescription"])
    assert [match["0020000D"]["Value"] for match in studies] == [[study]]
    assert len(await peer("search_for_studies", fuzzymatching=True, limit=3)) == 3
    assert len(await peer("search_for_series", study)) == 1
    (found,) = await peer("search_for_instances", study, series)
    assert found["00080018"]["Value"] == [instance]
    assert len(await peer("search_for_instances", get_remaining=True, limit=2)) == len(NAMES)


async def test_metadata_and_its_links(peer: Peer) -> None:
    study, series, instance = uids("CT_small.dcm")
    for metadata in (
        await peer("retrieve_instance_metadata", study, series, instance),
        (await peer("retrieve_series_metadata", study, series))[0],
        (await peer("retrieve_study_metadata", study))[0],
    ):
        assert metadata["00100010"]["Value"]
    link = metadata["7FE00010"]["BulkDataURI"]
    assert link.startswith(peer.url + "/studies/"), "with the port that the client does not send in Host"
    (pixels,) = await peer("retrieve_bulkdata", link)
    assert pixels == pydicom.dcmread(BytesIO(sample("CT_small.dcm"))).PixelData
    (part,) = await peer("retrieve_bulkdata", link, byte_range=(0, 10_000))
    assert len(part) <= 10_001


@pytest.mark.parametrize("name", NAMES)
async def test_instances(peer: Peer, name: str) -> None:
    expected = pydicom.dcmread(BytesIO(sample(name)))
    stored = await peer("retrieve_instance", *uids(name), media_types=(("application/dicom", "*"),))
    assert stored.file_meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID
    assert stored.SOPInstanceUID == expected.SOPInstanceUID
    if "PixelData" in expected:
        assert stored.PixelData == expected.PixelData
    (default,) = await peer("retrieve_series", *uids(name)[:2])
    if name != LOSSY:
        assert default.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    (of_study,) = await peer("retrieve_study", uids(name)[0])
    assert of_study.SOPInstanceUID == expected.SOPInstanceUID


async def test_frames(peer: Peer) -> None:
    expected = pydicom.dcmread(BytesIO(sample("rtdose.dcm"))).pixel_array
    frames = await peer("retrieve_instance_frames", *uids("rtdose.dcm"), [1, 3])
    assert len(frames) == 2
    native = await peer(
        "retrieve_instance_frames",
        *uids("rtdose.dcm"),
        [1, 15],
        media_types=(("application/octet-stream", "1.2.840.10008.1.2.1"),),
    )
    for frame, index in zip(native, (0, 14), strict=True):
        assert np.array_equal(np.frombuffer(frame, "<u4").reshape(10, 10), expected[index])
    (jpeg,) = await peer(
        "retrieve_instance_frames",
        *uids(LOSSY),
        [5],
        media_types=(("image/jpeg", "1.2.840.10008.1.2.4.50"),),
    )
    assert Image.open(BytesIO(jpeg)).size == (320, 240)
    (jls,) = await peer(
        "retrieve_instance_frames", *uids("CT_small.dcm"), [1], media_types=(("image/jls", "1.2.840.10008.1.2.4.80"),)
    )
    assert jls[:2] == b"\xff\xd8"


async def test_pictures(peer: Peer) -> None:
    picture = await peer("retrieve_instance_rendered", *uids("CT_small.dcm"), media_types=("image/jpeg",))
    assert Image.open(BytesIO(picture)).size == (128, 128)
    frame = await peer("retrieve_instance_frames_rendered", *uids(LOSSY), [2], media_types=("image/png",))
    assert Image.open(BytesIO(frame)).size == (320, 240)
    series = await peer("retrieve_series_rendered", *uids("CT_small.dcm")[:2], media_types=("image/jpeg",))
    assert Image.open(BytesIO(series)).size == (128, 128)


async def test_deletion(peer: Peer) -> None:
    dataset = pydicom.dcmread(BytesIO(sample("MR_small.dcm")))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.7777")
    await peer("store_instances", datasets=[dataset])
    named = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    await peer("delete_instance", *named)
    with pytest.raises(requests.HTTPError, match="404"):
        await peer("retrieve_instance_metadata", *named)
