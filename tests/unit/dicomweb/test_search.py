"""Searches as viewers ask them; what matches is the business of query.search."""

from __future__ import annotations

import gzip
from xml.etree import ElementTree

import pytest

from tests.archive import FILES, Stocked
from tests.multiparts import split_parts

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_study_list_of_a_viewer(stocked: Stocked) -> None:
    fields = "00081030%2C00080060%2C00080090%2C00100030"
    query = f"limit=101&offset=0&fuzzymatching=true&includefield={fields}&PatientName=*a*"
    answer = await stocked.get(f"/dicomweb/studies?{query}", "application/dicom+json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    for match in answer.json():
        for tag in ("0020000D", "00201206", "00201208", "00080061"):
            assert match[tag]["Value"]


async def test_a_row_is_opened(stocked: Stocked) -> None:
    identity = stocked.instances["CT_small.dcm"].identity
    path = f"/dicomweb/studies/{identity.study_instance_uid}"
    (study,) = (await stocked.get(f"/dicomweb/studies?StudyInstanceUID={identity.study_instance_uid}")).json()
    assert study["00081190"]["Value"] == [f"http://archive.test{path}"]
    (series,) = (await stocked.get(f"{path}/series?includefield=0008103E,00080021,00200011")).json()
    assert series["0020000E"]["Value"] == [identity.series_instance_uid]
    assert "00200011" in series
    assert series["00201209"]["Value"] == [1]
    (instance,) = (await stocked.get(f"{path}/series/{identity.series_instance_uid}/instances")).json()
    assert instance["00080018"]["Value"] == [identity.sop_instance_uid]
    assert instance["00081190"]["Value"] == ["http://archive.test" + stocked.path("CT_small.dcm")]
    (found,) = (await stocked.get(f"{path}/instances?includefield=all")).json()
    assert found["00080018"]["Value"] == [identity.sop_instance_uid]


async def test_several_studies_at_once(stocked: Stocked) -> None:
    uids = [stocked.instances[name].identity.study_instance_uid for name in ("CT_small.dcm", "test-SR.dcm")]
    for separator in (",", "%5C"):
        found = (await stocked.get(f"/dicomweb/studies?StudyInstanceUID={separator.join(uids)}")).json()
        assert {match["0020000D"]["Value"][0] for match in found} == set(uids)


async def test_nothing_matches(stocked: Stocked) -> None:
    answer = await stocked.get("/dicomweb/studies?PatientID=nobody")
    assert (answer.status_code, answer.json()) == (200, [])


async def test_warnings(stocked: Stocked) -> None:
    answer = await stocked.get("/dicomweb/instances?nonsense=1")
    assert answer.headers["warning"].startswith('299 nearframe "')
    assert len(answer.json()) >= len(FILES)


async def test_an_unchanged_answer_is_not_sent_again(stocked: Stocked) -> None:
    first = await stocked.get("/dicomweb/series")
    again = await stocked.get("/dicomweb/series", If_None_Match=first.headers["etag"])
    assert again.status_code == 304
    assert first.headers["vary"] == "Accept, Accept-Encoding"


async def test_the_same_question_twice_is_answered_once(stocked: Stocked) -> None:
    searches = stocked.archive.services.searches
    await stocked.get("/dicomweb/studies?Modality=CT&limit=5")
    before = searches.searched
    await stocked.get("/dicomweb/studies?Modality=CT&limit=5")
    assert searches.searched == before
    await stocked.get("/dicomweb/studies?Modality=CT&limit=6")
    assert searches.searched == before + 1


async def test_long_answers_are_compressed(stocked: Stocked) -> None:
    plain = await stocked.get("/dicomweb/instances")
    request = stocked.client.build_request("GET", "/dicomweb/instances", headers={"Accept-Encoding": "gzip"})
    answer = await stocked.client.send(request, stream=True)
    body = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == plain.content


async def test_xml(stocked: Stocked) -> None:
    answer = await stocked.get("/dicomweb/studies?limit=2", 'multipart/related; type="application/dicom+xml"')
    parts = split_parts(answer.content, answer.headers["content-type"])
    assert len(parts) == 2
    for _, document in parts:
        assert ElementTree.fromstring(document).tag.endswith("NativeDicomModel")  # noqa: S314 - our own


@pytest.mark.parametrize("query", ["limit=x", "offset=-1", "fuzzymatching=maybe"])
async def test_parameters_that_cannot_be_read(stocked: Stocked, query: str) -> None:
    assert (await stocked.get(f"/dicomweb/studies?{query}")).status_code == 400
