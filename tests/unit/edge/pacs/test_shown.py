"""Reading what an archive shows, with suspicion."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.edge.pacs.front import Place
from nearframe.edge.pacs.shown import shown_in, with_links_to
from nearframe.errors import UpstreamError

STUDY = "1.2.3"


def instance(**elements: Any) -> dict[str, Any]:
    uids = {"0020000D": STUDY, "0020000E": "1.2.3.4", "00080018": "1.2.3.4.5"}
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()} | elements


def fingerprint(**elements: Any) -> bytes:
    (shown,) = shown_in(json.dumps([instance(**elements)]).encode(), STUDY)
    return shown.fingerprint


def test_a_fingerprint_follows_the_values() -> None:
    named = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}}
    renamed = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "C^D"}]}}
    assert fingerprint() != fingerprint(**named) != fingerprint(**renamed)


def test_order_and_links_mean_nothing() -> None:
    one, other = ({"7FE00010": {"vr": "OW", "BulkDataURI": f"http://{host}/bulk"}} for host in ("a", "b"))
    assert fingerprint(**one) == fingerprint(**other)
    turned = json.dumps([dict(reversed(instance().items()))]).encode()
    assert shown_in(turned, STUDY)[0].fingerprint == fingerprint()


def test_a_text_of_nothing_but_the_beginnings_of_links_takes_no_time_by_its_square() -> None:
    text = b"http://" * 100_000
    assert with_links_to("https://edge/dicomweb", text) == text
    link = b'"' + text + b'" "http://pacs/dicom-web/studies/1.2"'
    assert with_links_to("https://edge/dicomweb", link).endswith(b'"https://edge/dicomweb/studies/1.2"')


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[1]",
        b"[{}]",
        b"[" * 100_000,
        b"[" + b"[]," * 6_000_000 + b"1]",
        b'[{"00080018": {"Value": []}}]',
        json.dumps([instance(**{"00080018": {"vr": "UI", "Value": ["1" * 65]}})]).encode(),
        json.dumps([instance(**{"0020000D": {"vr": "UI", "Value": ["9.9"]}})]).encode(),
        "[{}]".encode("utf-16"),
    ],
)
def test_what_is_no_metadata_of_the_study(document: bytes) -> None:
    with pytest.raises(UpstreamError):
        shown_in(document, STUDY)


@pytest.mark.hypothesis
@given(st.binary())
def test_anything_is_read_or_refused(document: bytes) -> None:
    with suppress(UpstreamError):
        shown_in(document, STUDY)


def test_links_lead_here() -> None:
    links = ["http://pacs:8042/dicom-web/studies/1.2/series/3", "https://x/studies/1", "/studies/1", "http://x/1"]
    led = json.loads(with_links_to("https://edge/dicomweb", json.dumps(links).encode()))
    assert led == ["https://edge/dicomweb/studies/1.2/series/3", "https://edge/dicomweb/studies/1", *links[2:]]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/dicomweb/studies", Place(None, None, None, "studies")),
        ("/dicomweb/studies/1.2", Place("1.2", None, None, "")),
        ("/dicomweb/studies/1.2/metadata", Place("1.2", None, None, "metadata")),
        ("/dicomweb/studies/1.2/series", Place("1.2", None, None, "series")),
        ("/dicomweb/studies/1.2/series/3/instances/4", Place("1.2", "3", "4", "")),
        ("/dicomweb/studies/1.2/series/3/instances/4/frames/1,2", Place("1.2", "3", "4", "frames/1,2")),
        ("/dicomweb/studies/1.2/instances", Place("1.2", None, None, "instances")),
        ("/dicomweb/", Place(None, None, None, "")),
    ],
)
def test_places(path: str, place: Place) -> None:
    assert Place.of(path) == place
