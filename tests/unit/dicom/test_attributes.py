"""Search attributes by level."""

from __future__ import annotations

from nearframe.dicom import attributes
from nearframe.dicom.attributes import MAX_ITEMS, attributes_of, instance_keys, series_keys, study_keys
from nearframe.dicom.dictionary import tag_of
from nearframe.dicom.source import BytesSource
from nearframe.dicom.split import split
from tests.unit.dicom import objects as o

#: PS3.18 Tables 10.6.3-3 to -5, without those a server computes (counts, availability, URLs).
REQUIRED_STUDY = ["00080020", "00080030", "00080050", "00080090", "00100010", "00100020", "00100030", "00100040"]
REQUIRED_SERIES = ["00080060", "0008103E", "0020000E", "00200011", "00400244", "00400245", "00400275"]
REQUIRED_INSTANCE = ["00080016", "00080018", "00200013", "00280010", "00280011", "00280100", "00280008"]
EVERYWHERE = ["00080005", "00080201"]


def test_what_the_standard_requires_is_there() -> None:
    assert set(REQUIRED_STUDY + EVERYWHERE + ["0020000D", "00200010"]) <= set(study_keys())
    assert set(REQUIRED_SERIES + EVERYWHERE) <= set(series_keys())
    assert set(REQUIRED_INSTANCE + EVERYWHERE) <= set(instance_keys())


def test_every_keyword_exists() -> None:
    keywords = {*attributes._STUDY, *attributes._SERIES, *attributes._INSTANCE, *attributes._ALL_LEVELS}
    assert [keyword for keyword in sorted(keywords) if tag_of(keyword) is None] == []


def test_keys_ascend() -> None:
    assert all(list(keys) == sorted(keys) for keys in (study_keys(), series_keys(), instance_keys()))


def test_attributes_of_an_instance() -> None:
    found = split(BytesSource(o.native(bytes(16), rows=4, columns=4))).attributes
    assert found.study["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    assert sorted(found.series) == ["0020000E"]
    assert found.instance["00280010"] == {"vr": "US", "Value": [4]}
    assert "7FE00010" not in found.instance


def test_long_evidence_stays_in_the_metadata() -> None:
    few = {"00400275": {"vr": "SQ", "Value": [{}] * MAX_ITEMS}}
    many = {"00400275": {"vr": "SQ", "Value": [{}] * (MAX_ITEMS + 1)}}
    assert "00400275" in attributes_of(few).series
    assert "00400275" not in attributes_of(many).series
