"""The identifiers that an object gives away itself, looked for in every text that is kept.

The table cannot know that a technician typed the patient's name into a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from nearframe.dicom.dictionary import tag_of
from nearframe.dicom.model import DICOMJSON

_NAMES: Final = (
    *("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson"),
    *("ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "PhysiciansOfRecord"),
    *("NameOfPhysiciansReadingStudy", "RequestingPhysician"),
)
_NUMBERS: Final = (
    *("PatientID", "OtherPatientIDs", "AccessionNumber", "AdmissionID", "PatientBirthDate", "PatientTelephoneNumbers"),
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "MedicalRecordLocator"),
)
#: Shorter ones are parts of words and of numbers.
_LEAST_NAME_CHARS: Final = 3
_LEAST_NUMBER_CHARS: Final = 4

_BETWEEN_NAMES = re.compile(r"[\^=\s,.:;_/()-]+")


class KnownIdentifiers:
    """What an object's own attributes say of who it is of."""

    def __init__(self, metadata: DICOMJSON) -> None:
        words = set(_words(metadata))
        # Where letters are no ASCII there may be no blank between words.
        parts = [rf"(?<!\w){re.escape(word)}(?!\w)" if word.isascii() else re.escape(word) for word in sorted(words)]
        self._pattern = re.compile("|".join(parts), re.IGNORECASE) if parts else None

    def are_in(self, text: str) -> bool:
        """Return True if one of them is in a text."""
        return self._pattern is not None and self._pattern.search(text) is not None


def _words(metadata: DICOMJSON) -> Iterator[str]:
    for key, attribute in metadata.items():
        for value in attribute.get("Value", ()):
            if attribute["vr"] == "SQ":
                yield from _words(value or {})
            elif key in _KEYS_OF_NAMES:
                yield from _parts_of_name(value)
            elif key in _KEYS_OF_NUMBERS and isinstance(value, str) and len(value.strip()) >= _LEAST_NUMBER_CHARS:
                yield value.strip()


def _parts_of_name(value: Any) -> Iterator[str]:
    for group in value.values() if isinstance(value, dict) else (str(value or ""),):
        for part in _BETWEEN_NAMES.split(group):
            if len(part) >= (_LEAST_NAME_CHARS if part.isascii() else 2):
                yield part


def _keys(keywords: tuple[str, ...]) -> frozenset[str]:
    return frozenset(f"{tag:08X}" for keyword in keywords if (tag := tag_of(keyword)) is not None)


_KEYS_OF_NAMES: Final = _keys(_NAMES)
_KEYS_OF_NUMBERS: Final = _keys(_NUMBERS)
