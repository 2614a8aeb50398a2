"""What routes, prefetch and the choice of priors look at in a study."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final

from nearframe.dicom.model import DICOMJSON
from nearframe.storage.catalogue.attributes import first, string
from nearframe.wire.manifest import Manifest

_MODALITY, _BODY_PART = "00080060", "00180015"
_STUDY_DESCRIPTION, _SERIES_DESCRIPTION = "00081030", "0008103E"
_REFERRING_PHYSICIAN, _INSTITUTION = "00080090", "00080080"
_STUDY_DATE, _STUDY_TIME = "00080020", "00080030"
_ORDER_PRIORITY: Final = "00401003"  # Requested Procedure Priority: STAT, HIGH, ROUTINE, MEDIUM, LOW
#: Scheduled Procedure Step Start Date, where a writer has it in the image; Performed otherwise.
_STEP_DATES: Final = ("00400002", "00400244")
_PATIENT_ID, _ISSUER = "00100020", "00100021"

_TAG_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """A study as its headers describe it.

    Attributes
    ----------
    acquired_at
        Study Date and Time, in the scanner's local time; None where there is no readable date.
        Without a time it is the day's end: the study is then taken for the newest it can be.
    step_dates
        Days for which it was scheduled or on which it was performed.
    patient
        Stands for the patient: keyed, so it can be compared and says nothing. Empty where there is no identifier.
    frame_bytes
        Bytes of all its frames as they are stored.
    """

    modalities: frozenset[str] = frozenset()
    body_parts: frozenset[str] = frozenset()
    descriptions: frozenset[str] = frozenset()
    referring_physicians: frozenset[str] = frozenset()
    institutions: frozenset[str] = frozenset()
    order_priorities: frozenset[str] = frozenset()
    acquired_at: datetime | None = None
    step_dates: frozenset[date] = field(default_factory=frozenset)
    patient: bytes = b""
    frame_bytes: int = 0

    def is_of_today(self, now: datetime) -> bool:
        """Return whether it was acquired within a day of `now`, or scheduled for today; `now` is local time."""
        if now.date() in self.step_dates:
            return True
        return self.acquired_at is not None and abs(now - self.acquired_at) < timedelta(hours=24)


def facts_of(manifest: Manifest, patient_key: bytes) -> StudyFacts:
    """Return what a manifest says of a study: of each series what its first instance says.

    Parameters
    ----------
    patient_key
        Secret of this edge with which patients are told apart.
    """
    firsts = {entry.identity.series_instance_uid: entry.metadata for entry in reversed(manifest.entries)}
    series = list(firsts.values())
    return StudyFacts(
        modalities=_texts(series, _MODALITY),
        body_parts=_texts(series, _BODY_PART),
        descriptions=_texts(series, _STUDY_DESCRIPTION) | _texts(series, _SERIES_DESCRIPTION),
        referring_physicians=_names(series, _REFERRING_PHYSICIAN),
        institutions=_texts(series, _INSTITUTION),
        order_priorities=_texts(series, _ORDER_PRIORITY),
        acquired_at=max(filter(None, map(_acquired, series)), default=None),
        step_dates=frozenset(
            day for one in series for tag in _STEP_DATES if (day := _date(string(one, tag))) is not None
        ),
        patient=_patient(series, patient_key),
        frame_bytes=sum(length for entry in manifest.entries for _, length in entry.frames),
    )


def _texts(series: list[DICOMJSON], tag: str) -> frozenset[str]:
    return frozenset(text for one in series if (text := string(one, tag)))


def _names(series: list[DICOMJSON], tag: str) -> frozenset[str]:
    values = (first(one, tag) for one in series)
    names = (value.get("Alphabetic") for value in values if isinstance(value, dict))
    return frozenset(name for name in names if isinstance(name, str) and name)


def _acquired(series: DICOMJSON) -> datetime | None:
    day = _date(string(series, _STUDY_DATE))
    return None if day is None else datetime.combine(day, _time(string(series, _STUDY_TIME)) or time.max)


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return None


def _time(text: str) -> time | None:
    # PS3.5 6.2: HHMMSS.FFFFFF, and any of its beginnings that ends with a pair.
    digits = text.partition(".")[0]
    try:
        return datetime.strptime(digits, "%H%M%S"[: len(digits)]).time()  # noqa: DTZ007 - the scanner's own
    except ValueError:
        return None


def _patient(series: list[DICOMJSON], key: bytes) -> bytes:
    identified = [(string(one, _ISSUER), string(one, _PATIENT_ID)) for one in series if string(one, _PATIENT_ID)]
    if not identified:
        return b""
    issuer, patient_id = min(identified)
    return hashlib.blake2b(f"{issuer}\0{patient_id}".encode(), key=key, digest_size=_TAG_BYTES).digest()
