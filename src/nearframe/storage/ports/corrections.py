"""Corrections: who changed what, when and why, and how it was before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nearframe.dicom.model import DICOMJSON
from nearframe.storage.ports.records import NewVersion


@dataclass(frozen=True, slots=True)
class PatientIdentity:
    """An identifier of a patient, and who issued it (empty: none is named)."""

    id: str
    issuer: str


@dataclass(frozen=True, slots=True)
class MergedIdentity:
    """An identifier that is given up for another one."""

    prior: PatientIdentity
    into: PatientIdentity


@dataclass(frozen=True, slots=True)
class NewCorrection:
    """A correction that is to be made.

    Attributes
    ----------
    action
        What it does: ``"attributes"``, ``"merge"``, ``"move"``, ``"delete"``, …
    principal
        Who says so.
    detail
        What was asked, as JSON.
    merged
        What it merges; None for other corrections.
    """

    tenant: str
    action: str
    principal: str
    reason: str
    made_at: datetime
    detail: DICOMJSON
    merged: MergedIdentity | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """What a correction makes of one instance.

    Attributes
    ----------
    based_on
        Number of the version that has to be current; None if none is.
    becomes
        A new version; the number of a stored one, which becomes current again as a new version of the
        same bytes; or None: nothing is in view, and what is sent of it later is kept and not shown.
    may_return
        Of one that goes out of view: what is sent of it later is shown, as if it had never been here.
    """

    sop_instance_uid: str
    based_on: int | None
    becomes: NewVersion | int | None
    may_return: bool = False


@dataclass(frozen=True, slots=True)
class CorrectionRecord:
    """A correction that was made.

    Attributes
    ----------
    instances
        How many it changed.
    undoes, undone_by
        Another correction, by its id.
    """

    id: int
    tenant: str
    action: str
    principal: str
    reason: str
    made_at: datetime
    detail: DICOMJSON
    instances: int
    undoes: int | None = None
    undone_by: int | None = None


@dataclass(frozen=True, slots=True)
class CorrectedInstance:
    """One instance of a correction: the versions before and after, None where nothing was in view.

    `study_instance_uid` is where it is filed after it, or was before if it is in view no more.
    """

    study_instance_uid: str
    sop_instance_uid: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class PatientStudy:
    """A study of a Patient ID: whose, as its issuer has it (empty: none is named)."""

    study_instance_uid: str
    issuer: str


@dataclass(frozen=True, slots=True)
class StrayStudy:
    """A study in view that names an identifier which was merged away: it came later, or from elsewhere."""

    study_instance_uid: str
    instances: int
    names: PatientIdentity
    belongs_to: PatientIdentity
    merged_at: datetime
