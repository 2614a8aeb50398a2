"""What a conflict is about: whose picture, which one, and in what the two versions differ."""

from __future__ import annotations

import json
from typing import Any, Final

from nearframe.context import Scope
from nearframe.dicom.dictionary import keyword_of
from nearframe.dicom.model import DICOMJSON
from nearframe.storage.ports import Catalogue, ConflictRecord, InstanceRecord
from nearframe.wire.frametable import FrameTable

#: Names of differing attributes; more tell nobody more, and all are counted.
_NAMED: Final = 30
#: Compared by frame, not by attribute: Pixel Data and its float forms (PS3.3 section C.7.6.24).
_PIXELS: Final = frozenset({"7FE00008", "7FE00009", "7FE00010"})

#: ``{field: tag}`` of what tells people which picture it is.
_TOLD: Final = {
    "patient_name": "00100010",
    "patient_id": "00100020",
    "study_date": "00080020",
    "study_description": "00081030",
    "modality": "00080060",
    "series_number": "00200011",
    "series_description": "0008103E",
    "instance_number": "00200013",
}


def describe(catalogue: Catalogue, conflict: ConflictRecord, scope: Scope) -> dict[str, Any]:
    """Return what both sides of a conflict say they are, and in what they differ.

    A side that is stored no more, or whose study the caller may not see, is null, and so is the
    difference then. Against the incoming version stands the one that is current now; once the
    incoming one is, that which it took the place of.
    """
    versions = catalogue.list_versions(conflict.study.tenant, conflict.identity.sop_instance_uid)
    seen = {one.version: one for one in versions if scope.admits(one.identity.study_instance_uid)}
    incoming = seen.get(conflict.version)
    shown = next((one for one in seen.values() if one.is_current and one is not incoming), None)
    current = shown or seen.get(conflict.current_version)
    sides = {"incoming": incoming, "current": current}
    headers = {side: _header(catalogue, record) for side, record in sides.items() if record is not None}
    told: dict[str, Any] = {
        side: _told(record, headers[side]) if record is not None else None for side, record in sides.items()
    }
    told["differs"] = None
    if incoming is not None and current is not None:
        told["differs"] = _frames_differ(current.frames, incoming.frames) | _attributes_differ(**headers)
    return told


def _header(catalogue: Catalogue, record: InstanceRecord) -> DICOMJSON:
    identity = record.identity
    [(_, text)] = catalogue.metadata(
        record.study, identity.series_instance_uid, identity.sop_instance_uid, version=record.version
    )
    header: DICOMJSON = json.loads(text)
    return header


def _told(record: InstanceRecord, header: DICOMJSON) -> dict[str, Any]:
    identity = record.identity
    return {
        "version": record.version,
        "study": identity.study_instance_uid,
        "series": identity.series_instance_uid,
        "source": record.source,
        "received_at": record.received_at.isoformat(),
        "frames": len(record.frames),
    } | {name: _text(header.get(tag, {})) for name, tag in _TOLD.items()}


def _text(element: Any) -> str | None:
    first = next(iter(element.get("Value", ())), None)
    if isinstance(first, dict):  # a person's name (PS3.18 section F.2.2)
        first = first.get("Alphabetic") or first.get("Ideographic") or first.get("Phonetic")
    return None if first is None else str(first)


def _frames_differ(current: FrameTable, incoming: FrameTable) -> dict[str, Any]:
    """Count the frames whose pixels differ; one that only one side has, differs."""
    common = range(min(len(current), len(incoming)))
    numbers = [index + 1 for index in common if not _same_pixels(current, incoming, index)]
    return {
        "frames": len(numbers) + abs(len(current) - len(incoming)),
        "first_frame": numbers[0] if numbers else None,
    }


def _same_pixels(current: FrameTable, incoming: FrameTable, index: int) -> bool:
    if current.enc_of(index) == incoming.enc_of(index):
        return True
    ours = current.pix_of(index)
    return ours is not None and ours == incoming.pix_of(index)


def _attributes_differ(current: DICOMJSON, incoming: DICOMJSON) -> dict[str, Any]:
    tags = sorted(tag for tag in {*current, *incoming} - _PIXELS if current.get(tag) != incoming.get(tag))
    return {"attributes": [keyword_of(int(tag, 16)) or tag for tag in tags[:_NAMED]], "attribute_count": len(tags)}
