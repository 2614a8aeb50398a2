"""Answers prepared on write: a search of a series is then a join of bytes.

A prepared answer is a DICOM JSON object in UTF-8, ordered by tag, with the attributes the
archive computes filled in. Its Retrieve URL starts with `BASE`, a byte that JSON text
cannot contain; whoever sends the answer replaces it with the address of the service.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from nearframe.dicom.model import DICOMJSON
from nearframe.ids import Identity
from nearframe.storage.catalogue.attributes import dump, element

BASE: Final = b"\x00"
_RETRIEVE_URL: Final = "00081190"


@dataclass(frozen=True, slots=True)
class StudyCounts:
    """What a study answer says of its contents."""

    series: int
    instances: int
    modalities: tuple[str, ...]
    sop_classes: tuple[str, ...]


def study_answer(attributes: DICOMJSON, uid: str, counts: StudyCounts) -> bytes:
    """Return the prepared answer of a study (PS3.18 Table 10.6.3-3)."""
    computed = {
        "00080056": element("CS", ["ONLINE"]),
        "00080061": element("CS", counts.modalities),
        "00080062": element("UI", counts.sop_classes),
        "0020000D": element("UI", [uid]),
        "00201206": element("IS", [counts.series]),
        "00201208": element("IS", [counts.instances]),
    }
    return prepare(attributes | computed, "studies", uid)


def series_answer(attributes: DICOMJSON, study_uid: str, uid: str, instances: int) -> bytes:
    """Return the prepared answer of a series (PS3.18 Table 10.6.3-4)."""
    computed = {
        "00080056": element("CS", ["ONLINE"]),
        "0020000D": element("UI", [study_uid]),
        "0020000E": element("UI", [uid]),
        "00201209": element("IS", [instances]),
    }
    return prepare(attributes | computed, "studies", study_uid, "series", uid)


def instance_answer(attributes: DICOMJSON, identity: Identity, transfer_syntax_uid: str) -> bytes:
    """Return the prepared answer of an instance (PS3.18 Table 10.6.3-5)."""
    computed = {
        "00080016": _uid(identity.sop_class_uid),
        "00080018": _uid(identity.sop_instance_uid),
        "00080056": element("CS", ["ONLINE"]),
        "00083002": _uid(transfer_syntax_uid),
        "0020000D": _uid(identity.study_instance_uid),
        "0020000E": _uid(identity.series_instance_uid),
    }
    return prepare(
        attributes | computed,
        "studies",
        identity.study_instance_uid,
        "series",
        identity.series_instance_uid,
        "instances",
        identity.sop_instance_uid,
    )


def render(rows: Iterable[bytes], base_url: str) -> bytes:
    """Join prepared answers into a JSON array, with `base_url` (no slash at its end) in every Retrieve URL."""
    return b"[" + b",".join(rows).replace(BASE, dump(base_url)[1:-1]) + b"]"


def parse(answer: bytes) -> DICOMJSON:
    """Read a prepared answer; its Retrieve URL keeps `BASE` in front."""
    attributes: DICOMJSON = json.loads(answer, strict=False)
    return attributes


def assemble(attributes: DICOMJSON) -> bytes:
    """Prepare an answer anew from parsed ones and further attributes."""
    url: str = attributes[_RETRIEVE_URL]["Value"][0]
    rest = {tag: value for tag, value in attributes.items() if tag != _RETRIEVE_URL}
    return _join(rest, url.encode())


def _uid(value: str) -> DICOMJSON:
    return element("UI", [value] if value else [])


def prepare(attributes: DICOMJSON, *path: str) -> bytes:
    """Prepare an answer of these attributes, its Retrieve URL being this path below the service."""
    return _join(attributes, BASE + "".join("/" + quote(part, safe="") for part in path).encode())


def _join(attributes: DICOMJSON, url: bytes) -> bytes:
    # 0008,0056 stands before the Retrieve URL and 0020,000D after it: neither side is empty.
    ordered = sorted(attributes)
    at = bisect(ordered, _RETRIEVE_URL)
    before = dump({tag: attributes[tag] for tag in ordered[:at]})
    after = dump({tag: attributes[tag] for tag in ordered[at:]})
    return before[:-1] + b',"%s":{"vr":"UR","Value":["%s"]},' % (_RETRIEVE_URL.encode(), url) + after[1:]
