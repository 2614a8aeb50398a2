"""WADO-URI, for clients of before WADO-RS."""

from __future__ import annotations

from io import BytesIO
from urllib.parse import urlencode

import pydicom
import pytest
from PIL import Image

from tests.archive import Stocked, sample

pytestmark = pytest.mark.asyncio(loop_scope="session")


def url(stocked: Stocked, name: str, **more: str) -> str:
    identity = stocked.instances[name].identity
    named = {
        "requestType": "WADO",
        "studyUID": identity.study_instance_uid,
        "seriesUID": identity.series_instance_uid,
        "objectUID": identity.sop_instance_uid,
    }
    return "/dicomweb/wado?" + urlencode(named | more)


async def test_the_file(stocked: Stocked) -> None:
    answer = await stocked.get(url(stocked, "CT_small.dcm", contentType="application/dicom"))
    assert answer.headers["content-type"] == "application/dicom"
    assert answer.content == sample("CT_small.dcm")


async def test_the_file_in_another_transfer_syntax(stocked: Stocked) -> None:
    wanted = "1.2.840.10008.1.2.4.80"
    answer = await stocked.get(url(stocked, "CT_small.dcm", contentType="application/dicom", transferSyntax=wanted))
    assert pydicom.dcmread(BytesIO(answer.content)).file_meta.TransferSyntaxUID == wanted
    refused = url(stocked, "examples_ybr_color.dcm", contentType="application/dicom", transferSyntax=wanted)
    assert (await stocked.get(refused)).status_code == 406


async def test_a_picture_is_the_default_for_a_still_image(stocked: Stocked) -> None:
    answer = await stocked.get(url(stocked, "CT_small.dcm"))
    assert answer.headers["content-type"] == "image/jpeg"
    cine = await stocked.get(url(stocked, "examples_ybr_color.dcm"))
    assert cine.headers["content-type"] == "application/dicom"


async def test_rendering_parameters(stocked: Stocked) -> None:
    asked = {"contentType": "image/png", "rows": "32", "windowCenter": "4000", "windowWidth": "10", "frameNumber": "1"}
    answer = await stocked.get(url(stocked, "CT_small.dcm", **asked))
    image = Image.open(BytesIO(answer.content))
    assert image.size == (32, 32)
    assert image.getextrema() == (0, 0)


WRONG = [
    ({"requestType": "X"}, 400),
    ({"studyUID": ""}, 400),
    ({"objectUID": "1.2.3"}, 404),
    ({"contentType": "text/html"}, 406),
    ({"contentType": "image/jpeg", "frameNumber": "9"}, 404),
    ({"contentType": "image/jpeg", "frameNumber": "x"}, 400),
    ({"contentType": "image/jpeg", "windowCenter": "1"}, 400),
    ({"contentType": "image/jpeg", "windowCenter": "a", "windowWidth": "b"}, 400),
    ({"anonymize": "yes"}, 403),
]


@pytest.mark.parametrize(("more", "status"), WRONG)
async def test_requests_that_make_no_sense(stocked: Stocked, more: dict[str, str], status: int) -> None:
    assert (await stocked.get(url(stocked, "CT_small.dcm", **more))).status_code == status
