"""Legal holds: what has to stay as it is, because somebody said so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Held:
    """What a hold is about: a study, or a patient with every study there is and will be.

    Attributes
    ----------
    study_instance_uid
        Empty for a patient.
    issuer
        Of the Patient ID; empty where none is named.
    """

    study_instance_uid: str = ""
    patient_id: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class NewHold:
    """A hold that is to be placed; `principal` says so."""

    tenant: str
    held: Held
    principal: str
    reason: str
    placed_at: datetime


@dataclass(frozen=True, slots=True)
class Release:
    """Who ended a hold, when and why."""

    principal: str
    reason: str
    released_at: datetime


@dataclass(frozen=True, slots=True)
class HoldRecord:
    """A hold.

    Attributes
    ----------
    studies
        How many it keeps.
    release
        None while it stands.
    """

    id: int
    tenant: str
    held: Held
    principal: str
    reason: str
    placed_at: datetime
    studies: int
    release: Release | None = None
