"""Conditions on attributes, as rules of the settings have them: ``Modality = ["CT", "MR"]``. Pure.

Attributes are named by keyword; patterns take ``*`` and ``?``, whatever the case, and a list means any of them.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import Any

from nearframe.dicom.dictionary import tag_of
from nearframe.dicom.model import DICOMJSON


@dataclass(frozen=True, slots=True)
class Condition:
    """An attribute, by its key in DICOM JSON, one value of which has to match."""

    tag: str
    pattern: re.Pattern[str]

    def holds(self, metadata: DICOMJSON) -> bool:
        return any(map(self.pattern.match, _texts(metadata, self.tag)))


def read_condition(name: str, value: object) -> Condition:
    """Read one member of a table; raises ValueError with what is expected."""
    tag = tag_of(name)
    if tag is None:
        raise ValueError(f"DICOM has no attribute {name}; conditions are keywords such as Modality")
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{name}: expected a pattern, or a list of patterns")
    return Condition(f"{tag:08X}", re.compile("|".join(fnmatch.translate(word) for word in words), re.IGNORECASE))


def _texts(metadata: DICOMJSON, tag: str) -> list[str]:
    """Return the values of an attribute; one that is absent or empty has the empty text."""
    values = metadata.get(tag, {}).get("Value") or [""]
    return [text for value in values for text in _texts_of(value)]


def _texts_of(value: Any) -> list[str]:
    return [str(part) for part in value.values()] if isinstance(value, dict) else [str(value)]
