"""What is done to an attribute: Table E.1-1, its options, and what the table does not name.

Whether an object's definition wants an attribute, and filled, is not looked up. So of a
compound action the one that suits every definition is taken: empty rather than remove, a
dummy rather than empty; none of them tells more than another.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from nearframe.deidentify.profile import Option, Profile
from nearframe.deidentify.table import basic_actions, device_tags, institution_tags, patient_tags
from nearframe.dicom.dictionary import keyword_of, public_vr


class Action(Enum):
    """What is done to an attribute."""

    KEEP = auto()  # the items of a sequence are gone through like the object itself
    REMOVE = auto()
    EMPTY = auto()
    DUMMY = auto()  # of a sequence: the texts in its items
    UID = auto()
    DATE = auto()  # moved by the patient's days


_OF_TABLE: Final = {
    "X": Action.REMOVE,
    "Z": Action.EMPTY,
    "D": Action.DUMMY,
    "U": Action.UID,
    "X/Z": Action.EMPTY,
    "X/D": Action.DUMMY,
    "Z/D": Action.DUMMY,
    "X/Z/D": Action.DUMMY,
    "X/Z/U*": Action.KEEP,
}

_TEMPORAL: Final = frozenset({"DA", "DT", "TM"})
_PATIENT_BIRTH_DATE: Final = 0x00100030
_PATIENT_BIRTH_TIME: Final = 0x00100032
_TIMEZONE: Final = 0x00080201
_FRAME_ORIGIN_TIMESTAMP: Final = 0x00340007
#: A date that stays nowhere: it comes with the place.
_GPS_TIME_STAMP: Final = 0x00160077
#: Without a K in the column of Retain UIDs: the value of a content item, and of a signature that no longer holds.
_NEVER_KEPT_UIDS: Final = frozenset({0x0040A124, 0x04000100})
_REFERENCED_STUDY: Final = 0x00081110
_STUDY_AND_STEP_REFERENCES: Final = frozenset({_REFERENCED_STUDY, 0x00081111})
_CURVES, _OVERLAYS, _GROUPS = 0x5000, 0x6000, 0xFF00

#: What a UID in an attribute like this names is no object and no device, but a kind of them.
_KINDS: Final = (
    *("ClassUID", "TransferSyntaxUID", "SOPClassesInStudy", "SOPClassesInSeries", "SOPClassesSupported"),
    *("CodingSchemeUID", "ContextUID", "MappingResourceUID"),
)


def action_for(tag: int, vr: str, profile: Profile) -> Action:
    """Return what is done to a standard attribute; private ones are not asked for."""
    if tag >> 16 & _GROUPS in (_CURVES, _OVERLAYS) or vr == "UN" or public_vr(tag) is None:
        return Action.REMOVE  # what is not understood cannot be judged
    if _is_kept(tag, profile):
        return Action.KEEP
    if tag == _REFERENCED_STUDY:
        return Action.REMOVE  # X/Z, and the one of these that must not be empty (PS3.3 C.7.2.1)
    code = basic_actions().get(tag)
    if vr in _TEMPORAL and tag not in (_PATIENT_BIRTH_DATE, _PATIENT_BIRTH_TIME, _GPS_TIME_STAMP):
        return _temporal(vr, code, profile)
    if tag in (_TIMEZONE, _FRAME_ORIGIN_TIMESTAMP) and profile.keeps(Option.DATES):
        return Action.KEEP
    if tag == _TIMEZONE and profile.keeps(Option.MODIFIED_DATES):
        return Action.KEEP
    if code == "U" or (code == "D" and vr == "UI"):
        return Action.KEEP if profile.keeps(Option.UIDS) and tag not in _NEVER_KEPT_UIDS else Action.UID
    return _OF_TABLE[code] if code else _unlisted(tag, vr, profile)


def _is_kept(tag: int, profile: Profile) -> bool:
    kept = (
        (Option.DEVICE, device_tags()),
        (Option.INSTITUTION, institution_tags()),
        (Option.PATIENT, patient_tags()),
        (Option.UIDS, _STUDY_AND_STEP_REFERENCES),
    )
    return any(profile.keeps(option) and tag in tags for option, tags in kept)


def _temporal(vr: str, code: str | None, profile: Profile) -> Action:
    if profile.keeps(Option.DATES):
        return Action.KEEP
    if profile.keeps(Option.MODIFIED_DATES):
        return Action.KEEP if vr == "TM" else Action.DATE
    return _OF_TABLE[code] if code else Action.DUMMY


def _unlisted(tag: int, vr: str, profile: Profile) -> Action:
    """Return what is done to what the table leaves alone, or does not know yet, by what it can hold."""
    if vr == "PN":
        return Action.DUMMY
    if vr == "UR":
        return Action.REMOVE
    if vr == "UI" and not profile.keeps(Option.UIDS) and not (keyword_of(tag) or "").endswith(_KINDS):
        return Action.UID
    return Action.KEEP
