"""The de-identified metadata of an instance: DICOM JSON in, DICOM JSON out.

A sequence that the profile wants replaced by a dummy, such as the content of a structured
report, keeps its shape: numbers, defined terms and standard codes stay, every text, name, date
and UID in it is another one. So it stays what its definition wants, and that is what Clean
Structured Content asks for.
"""

from __future__ import annotations

from typing import Any, Final

from nearframe import __version__
from nearframe.deidentify.actions import Action, action_for
from nearframe.deidentify.known import KnownIdentifiers
from nearframe.deidentify.profile import Option, Profile
from nearframe.deidentify.pseudonyms import Pseudonyms
from nearframe.deidentify.safeprivate import safe_private_keys
from nearframe.deidentify.values import bounded_age, dummy, moved
from nearframe.dicom.model import DICOMJSON

_WELL_KNOWN: Final = "1.2.840.10008."  # PS3.6 Annex A: the standard's own
_PATIENT_NAME, _PATIENT_ID, _ISSUER = "00100010", "00100020", "00100021"
_STUDY_INSTANCE_UID: Final = "0020000D"
_PATIENT_AGE: Final = "00101010"
_CODING_SCHEME: Final = "00080102"
_CODE: Final = ("00080100", "00080119", "00080120", "00080104", _CODING_SCHEME)
_PRIVATE_SCHEME: Final = "99"  # PS3.3 section 8.2

#: Identifiers of which a dummy still has to tell one from another: container, specimen, trial subject.
_TOLD_APART: Final = frozenset({"00400512", "00400551", "00120040", "00120042"})
#: Numbers that a scanner gives, but people type: of six digits and more they may be the patient's.
_GIVEN_NUMBERS: Final = frozenset({"00200011", "00200012", "00200013"})  # of series, acquisition, instance
_LEAST_DIGITS: Final = 6
_TEXTS: Final = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})

_PATIENT_IDENTITY_REMOVED: Final = "00120062"
_METHOD: Final = "00120063"
_METHOD_CODES: Final = "00120064"
_DATES: Final = "00280303"
_BASIC_PROFILE: Final = ("113100", "Basic Application Confidentiality Profile")
_CLEAN_PIXELS: Final = ("113101", "Clean Pixel Data Option")
_CLEAN_STRUCTURED_CONTENT: Final = ("113104", "Clean Structured Content Option")


def deidentified(
    metadata: DICOMJSON, profile: Profile, pseudonyms: Pseudonyms, *, has_clean_pixels: bool = False
) -> DICOMJSON:
    """Return an instance's metadata without what tells who it is of.

    Parameters
    ----------
    has_clean_pixels
        True if text in its pixels was masked.
    """
    patient = _patient_of(metadata)
    cleaner = _Cleaner(profile, pseudonyms, patient, KnownIdentifiers(metadata))
    out = cleaner.data_set(metadata, are_dummies=False)
    word = pseudonyms.word("patient", patient)
    out[_PATIENT_NAME] = {"vr": "PN", "Value": [{"Alphabetic": word}]}
    out[_PATIENT_ID] = {"vr": "LO", "Value": [word]}
    return dict(sorted({**out, **_statement(profile, has_clean_pixels)}.items()))


def _patient_of(metadata: DICOMJSON) -> str:
    """Return what tells this patient from others: without an ID, each study is of somebody else."""
    keys = (_PATIENT_ID, _ISSUER) if _first(metadata, _PATIENT_ID) else (_STUDY_INSTANCE_UID,)
    return "\0".join(_first(metadata, key) for key in keys)


def _first(metadata: DICOMJSON, key: str) -> str:
    values = metadata.get(key, {}).get("Value") or [""]
    return str(values[0] or "")


class _Cleaner:
    """Goes through the data sets of one instance."""

    def __init__(self, profile: Profile, pseudonyms: Pseudonyms, patient: str, known: KnownIdentifiers) -> None:
        self._profile = profile
        self._pseudonyms = pseudonyms
        self._days = pseudonyms.days(patient)
        self._known = known

    def data_set(self, metadata: DICOMJSON, *, are_dummies: bool) -> DICOMJSON:
        """Return a data set's attributes; of an item in a sequence of dummies, with no text of its own."""
        safe = safe_private_keys(metadata) if self._profile.keeps(Option.SAFE_PRIVATE) else frozenset()
        standard_codes = frozenset(_CODE) if _has_standard_code(metadata) else frozenset()
        out: DICOMJSON = {}
        for key, attribute in metadata.items():
            if int(key[:4], 16) % 2:
                if key in safe and not self._tells(attribute):
                    out[key] = attribute
            elif (new := self._attribute(key, attribute, are_dummies and key not in standard_codes)) is not None:
                out[key] = new
        return out

    def _attribute(self, key: str, attribute: DICOMJSON, is_dummy: bool) -> DICOMJSON | None:
        vr = attribute["vr"]
        action = action_for(int(key, 16), vr, self._profile)
        is_empty = len(attribute) == 1
        if action is Action.REMOVE:
            return None
        if action is Action.EMPTY or is_empty:
            return {"vr": vr}
        if vr == "SQ":
            are_dummies = is_dummy or action is Action.DUMMY
            return {
                "vr": vr,
                "Value": [self.data_set(item or {}, are_dummies=are_dummies) for item in attribute["Value"]],
            }
        if action is Action.UID:
            return self._each(attribute, self._uid)
        if action is Action.DATE:
            return self._each(attribute, lambda value: moved(vr, value, self._days))
        if action is Action.DUMMY or (is_dummy and vr in _TEXTS) or self._tells(attribute):
            return self._dummy(key, attribute)
        if key in _GIVEN_NUMBERS:
            return self._each(attribute, self._number)
        return self._each(attribute, bounded_age) if key == _PATIENT_AGE else attribute

    def _dummy(self, key: str, attribute: DICOMJSON) -> DICOMJSON:
        if key in _TOLD_APART:
            return self._each(attribute, lambda value: self._pseudonyms.word(key, str(value)))
        return dummy(attribute["vr"])

    def _uid(self, value: Any) -> Any:
        is_ours = isinstance(value, str) and not value.startswith(_WELL_KNOWN)
        return self._pseudonyms.uid(value) if is_ours else value

    def _number(self, value: Any) -> Any:
        written = str(value)
        return None if len(written) >= _LEAST_DIGITS and self._known.are_in(written) else value

    def _tells(self, attribute: DICOMJSON) -> bool:
        """Return True if a text has an identifier of this object in it, or is too long to stand in the header."""
        if attribute["vr"] not in _TEXTS:
            return False
        return "BulkDataURI" in attribute or any(
            isinstance(value, str) and self._known.are_in(value) for value in attribute.get("Value", ())
        )

    @staticmethod
    def _each(attribute: DICOMJSON, change: Any) -> DICOMJSON:
        values = [None if value is None else change(value) for value in attribute.get("Value", ())]
        return {"vr": attribute["vr"], "Value": values} if values not in ([], [None]) else {"vr": attribute["vr"]}


def _has_standard_code(item: DICOMJSON) -> bool:
    scheme = _first(item, _CODING_SCHEME)
    return bool(scheme) and not scheme.startswith(_PRIVATE_SCHEME)


def _statement(profile: Profile, has_clean_pixels: bool) -> DICOMJSON:
    """Return what PS3.15 E.1.1 has a de-identifier say of what it did."""
    done = [_BASIC_PROFILE, _CLEAN_STRUCTURED_CONTENT, *([_CLEAN_PIXELS] if has_clean_pixels else [])]
    done += [(option.code, option.meaning) for option in Option if profile.keeps(option)]
    dates = "UNMODIFIED" if profile.keeps(Option.DATES) else "REMOVED"
    if profile.keeps(Option.MODIFIED_DATES):
        dates = "MODIFIED"
    return {
        _PATIENT_IDENTITY_REMOVED: {"vr": "CS", "Value": ["YES"]},
        _METHOD: {"vr": "LO", "Value": [f"nearframe {__version__}: PS3.15 E.1-1 edition 2026c"]},
        _METHOD_CODES: {"vr": "SQ", "Value": [_code(*one) for one in sorted(done)]},
        _DATES: {"vr": "CS", "Value": [dates]},
    }


def _code(value: str, meaning: str) -> DICOMJSON:
    return {
        "00080100": {"vr": "SH", "Value": [value]},
        _CODING_SCHEME: {"vr": "SH", "Value": ["DCM"]},
        "00080104": {"vr": "LO", "Value": [meaning[:64]]},
    }
