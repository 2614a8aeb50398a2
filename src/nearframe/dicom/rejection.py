"""Rejection notes: Key Object Selections whose title says that what they name is not to be used.

Imaging Object Change Management (IHE RAD TF-3, transaction RAD-66, section 4.66).

References
----------
PS3.3 A.35.4 (Key Object Selection Document IOD), C.17.6 (its modules); PS3.16 CID 7011 (Rejected for …).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from nearframe.dicom.jsonitems import first_item, items_of, text_at
from nearframe.dicom.model import DICOMJSON
from nearframe.ids import Identity

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"

#: A note that names more is an object like any other: what it says would be one transaction.
MAX_REJECTED: Final = 20_000

_SOP_CLASS: Final = "00080016"
_TITLE: Final = "0040A043"
_CODE: Final = "00080100"
_SCHEME: Final = "00080102"
_EVIDENCE: Final = "0040A375"
_STUDY: Final = "0020000D"
_SERIES: Final = "0020000E"
_REFERENCED_SERIES: Final = "00081115"
_REFERENCED_OBJECTS: Final = "00081199"
_REFERENCED_CLASS: Final = "00081150"
_REFERENCED_INSTANCE: Final = "00081155"


class Rejection(Enum):
    """Why something is rejected: code value of scheme DCM, and its meaning."""

    QUALITY = ("113001", "Rejected for Quality Reasons")
    SAFETY = ("113037", "Rejected for Patient Safety Reasons")
    WORKLIST = ("113038", "Incorrect Modality Worklist Entry")
    RETENTION = ("113039", "Data Retention Policy Expired")

    @property
    def code(self) -> str:
        return self.value[0]

    @property
    def meaning(self) -> str:
        return self.value[1]

    @property
    def may_return(self) -> bool:
        """True if what is rejected may be stored once more: nothing was wrong with it, its time was over."""
        return self is Rejection.RETENTION


@dataclass(frozen=True, slots=True)
class RejectionNote:
    """What is rejected, and why."""

    rejection: Rejection
    rejected: tuple[Identity, ...]


def rejection_note(metadata: DICOMJSON) -> RejectionNote | None:
    """Read an object's metadata as a rejection note; None if it is none, or names nothing, or too much."""
    if text_at(metadata, _SOP_CLASS) != KEY_OBJECT_SELECTION:
        return None
    title = first_item(metadata, _TITLE)
    rejection = next((one for one in Rejection if one.code == text_at(title, _CODE)), None)
    if rejection is None or text_at(title, _SCHEME) != "DCM":
        return None
    rejected = tuple(dict.fromkeys(_evidence(metadata)))
    return RejectionNote(rejection, rejected) if 0 < len(rejected) <= MAX_REJECTED else None


def _evidence(metadata: DICOMJSON) -> Iterator[Identity]:
    for study in items_of(metadata, _EVIDENCE):
        for series in items_of(study, _REFERENCED_SERIES):
            for one in items_of(series, _REFERENCED_OBJECTS):
                instance = text_at(one, _REFERENCED_INSTANCE)
                if instance:
                    sop_class = text_at(one, _REFERENCED_CLASS)
                    yield Identity(sop_class, instance, text_at(series, _SERIES), text_at(study, _STUDY))
