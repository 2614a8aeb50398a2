"""A small archive to search in, with what real archives hold."""

from __future__ import annotations

from typing import Any

from nearframe.ids import Identity
from nearframe.storage.ports import NewVersion
from tests.unit.storage.catalogue.objects import CT_IMAGE, MR_IMAGE, element, version

SR = "1.2.840.10008.5.1.4.1.1.88.11"
YAMADA = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
REQUEST = {
    "00400275": {
        "vr": "SQ",
        "Value": [
            {"00400009": {"vr": "SH", "Value": ["STEP-1"]}, "00401001": {"vr": "SH", "Value": ["RP-7"]}},
            {"00400009": {"vr": "SH", "Value": ["STEP-2"]}},
        ],
    }
}

#: Study number -> its attributes.
STUDIES: dict[int, dict[str, Any]] = {
    1: {
        "t00100010": "Müller^Jürgen^^Dr.",
        "t00100020": "MRN-001",
        "t00080020": "20180107",
        "t00080030": "093000",
        "t00080050": "A_100%",
        "t00081030": "Schädel CT nativ",
        "t00080090": "Weiß^Anna",
        "t00100030": "19500101",
        "t00100040": "M",
    },
    2: {
        "t00100010": YAMADA,
        "t00100020": "mrn-001",
        "t00080020": "20180113",
        "t00080030": "101500.250",
        "t00080050": "A1100",
        "t00081030": "MR Head",
        "t00100040": "F",
    },
    3: {
        "t00100010": "Smith^John",
        "t00100020": "S-17",
        "t00100021": "HOSPITAL-B",
        "t00080020": "20180201",
        "t00080050": "A*1?",
        "t00081030": "HEAD AND NECK",
    },
    4: {
        "t00100010": "SMYTHE^Joan",
        "t00100020": "S-18",
        "t00080020": "20180201",
        "t00080030": "1200",
        "t00081030": "Knee",
    },
    5: {"t00100010": {"00100010": {"vr": "PN"}}, "t00100020": {"00100020": {"vr": "LO"}}},
}
_SERIES: dict[int, list[dict[str, Any]]] = {
    1: [
        {"t00080060": "CT", "t0008103E": "Thorax 1.0 B30f", "t00200011": 2, "t00180015": "CHEST"},
        {"t00080060": "SR", "t0008103E": "Befund", "t00200011": 10},
    ],
    2: [
        {"t00080060": "MR", "t0008103E": "t1_tse", "t00200011": 3, "t00080070": "ACME", "request": REQUEST},
    ],
    3: [{"t00080060": "CT", "t00200011": 1}, {"t00080060": "MR", "t00200011": {"00200011": {"vr": "IS"}}}],
    4: [{"t00080060": "MR", "t00200011": 1}],
    5: [{"t00080060": "OT", "t00200011": 1}],
}
_CLASSES = {"CT": CT_IMAGE, "MR": MR_IMAGE, "SR": SR, "OT": "1.2.840.10008.5.1.4.1.1.7"}


def archive() -> list[NewVersion]:
    """Return the archive's instances: two of each series, in no useful order."""
    return [
        _instance(number, index, instance, study | series)
        for number, study in reversed(STUDIES.items())
        for index, series in enumerate(_SERIES[number], 1)
        for instance in (2, 1)
    ]


def _instance(study: int, series: int, instance: int, attributes: dict[str, Any]) -> NewVersion:
    sop_class_uid = _CLASSES[attributes["t00080060"]]
    uids = Identity(sop_class_uid, f"1.2.{study}.{series}.{instance}", f"1.2.{study}.{series}", f"1.2.{study}")
    named = {name: value for name, value in attributes.items() if name != "request"}
    if "request" in attributes:
        named["t00400275"] = attributes["request"]
    extra = element("00181151", 100 * instance, vr="IS") | {"00081250": {"vr": "SQ", "Value": []}}
    bulk = {"00091010": {"vr": "OB", "BulkDataURI": "bulkdata/00091010"}}
    return version(uids, t00181151=extra, t00091010=bulk, t00080005="ISO_IR 192", **named)
