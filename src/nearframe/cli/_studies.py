"""Studies as search answers and manifests describe them, for people."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.uid import UID

from nearframe.cli._asking import Node
from nearframe.errors import MalformedRequest, NotFound
from nearframe.wire.delta import Delta
from nearframe.wire.manifest import Manifest

#: One item of a search answer, DICOM JSON.
Found: TypeAlias = dict[str, Any]

_STUDY_FIELDS = "StudyDescription,ModalitiesInStudy,NumberOfStudyRelatedSeries,NumberOfStudyRelatedInstances"
_SERIES_FIELDS = "SeriesDescription,BodyPartExamined,NumberOfSeriesRelatedInstances"
_UID_CHARS = 64
_AMBIGUOUS = 2
_LAST = 2**31  # beyond what Series Number (IS) can hold


@dataclass(slots=True)
class Sizes:
    """What a series takes."""

    instances: int = 0
    frames: int = 0
    frame_bytes: int = 0
    transfer_syntaxes: Counter[str] = field(default_factory=Counter)

    @property
    def syntaxes(self) -> str:
        """The transfer syntaxes by name, most frequent first."""
        return ", ".join(UID(uid).name for uid, _ in self.transfer_syntaxes.most_common())

    def as_json(self) -> dict[str, Any]:
        return {
            "instances": self.instances,
            "frames": self.frames,
            "frame_bytes": self.frame_bytes,
            "transfer_syntaxes": dict(self.transfer_syntaxes),
        }


def search(node: Node, params: dict[str, str | int | list[str]]) -> list[Found]:
    """Return the studies that match."""
    return node.json("/dicomweb/studies", {"includefield": _STUDY_FIELDS} | params) or []


def find(node: Node, beginning: str) -> Found:
    """Return the one study whose UID is, or begins with, what was given.

    Raises
    ------
    NotFound
        If there is none.
    MalformedRequest
        If there are several.
    """
    exact = search(node, {"StudyInstanceUID": beginning})
    found = exact or [
        one
        for one in search(node, {"limit": 1000})
        if len(beginning) < _UID_CHARS and text(one, "StudyInstanceUID").startswith(beginning)
    ]
    if not found:
        raise NotFound("study at this node; nearframe study list shows which there are")
    if len(found) >= _AMBIGUOUS:
        raise MalformedRequest(f"{len(found)} studies begin like that; give more of the UID")
    return found[0]


def uid_of(node: Node, beginning: str) -> str:
    """Return the Study Instance UID that `find` finds."""
    return text(find(node, beginning), "StudyInstanceUID")


def series_of(node: Node, study: Found) -> list[Found]:
    """Return the series of a study, by number."""
    path = f"/dicomweb/studies/{text(study, 'StudyInstanceUID')}/series"
    found: list[Found] = node.json(path, {"includefield": _SERIES_FIELDS}) or []
    return sorted(found, key=lambda one: (_number(text(one, "SeriesNumber")), text(one, "SeriesInstanceUID")))


def sizes_of(manifest: Manifest) -> dict[str, Sizes]:
    """Return what each series takes, by Series Instance UID."""
    sizes: dict[str, Sizes] = {}
    for entry in manifest.entries:
        size = sizes.setdefault(entry.identity.series_instance_uid, Sizes())
        size.instances += 1
        size.frames += len(entry.frames)
        size.frame_bytes += sum(entry.frames.lengths)
        size.transfer_syntaxes[entry.transfer_syntax_uid] += 1
    return sizes


def added_instances(delta: Delta) -> int:
    """Return how many instances a delta brings that were not there before."""
    return sum(len(member["enc"]) for member in delta.added["series"]) if delta.added else 0


def text(found: Found, keyword: str) -> str:
    """Return the values of an attribute as people read them, empty where it has none."""
    element = found.get(f"{tag_for_keyword(keyword):08X}", {})
    return "\\".join(_plain_value(value) for value in element.get("Value", ()))


def plain(found: Found) -> dict[str, Any]:
    """Return an item by keyword instead of by tag: a list where the dictionary allows several values, else the value.

    An attribute has the same type in every study, so programs need not ask: None is an empty single value.
    """
    named: dict[str, Any] = {}
    for tag, element in found.items():
        of_one = plain if element.get("vr") == "SQ" else _plain_value
        values = [of_one(value) if isinstance(value, dict) else value for value in element.get("Value", ())]
        single = len(values) <= 1 and _is_single(int(tag, 16))
        named[keyword_for_tag(int(tag, 16)) or tag] = next(iter(values), None) if single else values
    return named


def _is_single(tag: int) -> bool:
    return dictionary_has_tag(tag) and dictionary_VM(tag) == "1" and dictionary_VR(tag) != "SQ"


def dumps(document: object) -> str:
    """Return JSON for a file."""
    return json.dumps(document, ensure_ascii=False, indent=1)


def _plain_value(value: Any) -> str:
    if isinstance(value, dict):  # a person's name (PS3.18 section F.2.2)
        return str(value.get("Alphabetic") or value.get("Ideographic") or value.get("Phonetic") or "")
    return str(value)


def _number(number: str) -> int:
    try:
        return int(number)
    except ValueError:
        return _LAST
