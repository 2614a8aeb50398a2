"""What an edge remembers of its studies' urgency, in a small SQLite file of its own.

The running edge works on rows in memory; they are written behind, every few seconds. What a
person said (a class, a pin, a consult) is durable before it is answered. A crash loses a few
seconds of "last opened" and nothing else. A file that is lost or damaged is begun anew
(`ownfile`): every study then looks freshly opened, so nothing goes that should stay.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from nearframe.context import Urgency
from nearframe.metrics import Metrics
from nearframe.storage.ownfile import open_own, rows_of
from nearframe.storage.ports import StudyRef

FILE_NAME: Final = "tiers.sqlite"
SCHEMA: Final = 1
_KEY_BYTES: Final = 32


class Departed(IntEnum):
    """Why a study's frames are not here any more. The numbers are in the file: never renumber."""

    NOT = 0
    #: Put out while still fresh, since there was no room.
    EVICTED = 1
    #: Put out after its deadline.
    EXPIRED = 2
    #: By a person.
    PURGED = 3


@dataclass(slots=True, eq=False)
class StudyTier:
    """One study.

    Attributes
    ----------
    routed, route
        Class by the route table, and the rule that decided in words.
    given, reason, until
        Class that a person or the upstream gave, why, and when that ends (None: it does not).
    used_at
        When it came or was last opened, seconds since 1970.
    held_bytes
        Bytes of frames written here on its behalf.
    frame_bytes
        Bytes of all its frames as stored.
    patient
        Stands for the patient within this edge; see `facts.StudyFacts`.
    modalities, body_parts
        Words joined by backslashes, as DICOM joins values.
    acquired_at
        ISO 8601, or empty.
    consults
        The open ones that it is part of, with the class each asks for: from the table of consults.
    urgency
        The class that holds now; `keeper` keeps it.
    wanted_at
        When somebody last read it who was not exporting, or it was to be fetched ahead. Not in the file.
    reroute_at
        When it reaches the next age that a rule looks at. Not in the file.
    """

    study: StudyRef
    used_at: float
    routed: Urgency = Urgency.ROUTINE
    route: str = ""
    given: Urgency | None = None
    reason: str = ""
    until: float | None = None
    is_pinned: bool = False
    held_bytes: int = 0
    frame_bytes: int = 0
    departed: Departed = Departed.NOT
    patient: bytes = b""
    modalities: str = ""
    body_parts: str = ""
    acquired_at: str = ""
    consults: dict[str, Urgency] | None = None
    urgency: Urgency = Urgency.ROUTINE
    wanted_at: float = 0.0
    reroute_at: float = math.inf

    @property
    def is_held(self) -> bool:
        """True if it may not go."""
        return self.is_pinned or bool(self.consults)

    @property
    def is_whole(self) -> bool:
        """True if every frame is here as it is stored."""
        return 0 < self.frame_bytes <= self.held_bytes

    def decide(self, now: float) -> Urgency:
        """Bring `urgency` up to `now`: what was given holds until it ends, and an open consult raises."""
        if self.until is not None and now >= self.until:
            self.given, self.reason, self.until = None, "", None
        decided = self.routed if self.given is None else self.given
        self.urgency = min([decided, *(self.consults or {}).values()])
        return self.urgency


@dataclass(frozen=True, slots=True)
class Consult:
    """A consult that is open, with the studies it raises: its own first, then the priors.

    Attributes
    ----------
    ends_at
        When it counts as closed, should nobody close it.
    """

    id: str
    studies: tuple[StudyRef, ...]
    urgency: Urgency
    reason: str
    opened_at: float
    ends_at: float


_metadata = sa.MetaData()
_meta = sa.Table(
    "meta",
    _metadata,
    sa.Column("patient_key", sa.LargeBinary, nullable=False),
)
_study = sa.Table(
    "study",
    _metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("study_instance_uid", sa.Text, primary_key=True),
    sa.Column("used_at", sa.Float, nullable=False),
    sa.Column("routed", sa.SmallInteger, nullable=False),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("given", sa.SmallInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("until", sa.Float),
    sa.Column("is_pinned", sa.Boolean, nullable=False),
    sa.Column("held_bytes", sa.BigInteger, nullable=False),
    sa.Column("frame_bytes", sa.BigInteger, nullable=False),
    sa.Column("departed", sa.SmallInteger, nullable=False),
    sa.Column("patient", sa.LargeBinary, nullable=False),
    sa.Column("modalities", sa.Text, nullable=False),
    sa.Column("body_parts", sa.Text, nullable=False),
    sa.Column("acquired_at", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_consult = sa.Table(
    "consult",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    # A study of the consult, and its place among them.
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("study_instance_uid", sa.Text, nullable=False),
    sa.Column("urgency", sa.SmallInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("opened_at", sa.Float, nullable=False),
    sa.Column("ends_at", sa.Float, nullable=False),
)

#: Members of `StudyTier` that are columns under their own name.
_PLAIN: Final = [one.name for one in fields(StudyTier) if one.name in _study.c]


@dataclass(frozen=True, slots=True)
class KeptTiers:
    """What a file held when it was opened.

    Attributes
    ----------
    patient_key
        Secret with which this edge tells patients apart; None in a file that was begun just now.
    """

    patient_key: bytes | None
    studies: list[StudyTier]
    consults: list[Consult]


class TierFile:
    """The file. Sync: callers bring a thread; one call at a time writes.

    Attributes
    ----------
    kept
        What it held when it was opened.
    """

    def __init__(self, path: Path, metrics: Metrics) -> None:
        """Open the file, or begin a new one; see `ownfile.open_own` for what that raises."""
        file = open_own(path, SCHEMA, _metadata, _read, metrics)
        self._database, self.kept, self.is_new = file.database, file.kept, file.is_new
        self.patient_key = file.kept.patient_key or self._new_key()

    def close(self) -> None:
        self._database.close()

    def _new_key(self) -> bytes:
        key = secrets.token_bytes(_KEY_BYTES)
        with self._database.write() as connection:
            connection.execute(sa.insert(_meta).values(patient_key=key))
        return key

    def save(self, tiers: Iterable[StudyTier]) -> None:
        """Write rows, new or known; durable on return."""
        rows = [_row(tier) for tier in tiers]
        if not rows:
            return
        statement = insert(_study)
        changed = {column.name: statement.excluded[column.name] for column in _study.c if not column.primary_key}
        with self._database.write() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=_study.primary_key, set_=changed), rows)

    def forget(self, study: StudyRef) -> None:
        """Remove a study's row; its consults stay until they are closed."""
        this = sa.and_(_study.c.tenant == study.tenant, _study.c.study_instance_uid == study.study_instance_uid)
        with self._database.write() as connection:
            connection.execute(sa.delete(_study).where(this))

    def save_consult(self, consult: Consult) -> None:
        """Write a consult that was opened; durable on return."""
        rest = {"id": consult.id, "reason": consult.reason, "urgency": int(consult.urgency)}
        rest |= {"opened_at": consult.opened_at, "ends_at": consult.ends_at}
        rows = [
            {"place": place, "tenant": study.tenant, "study_instance_uid": study.study_instance_uid, **rest}
            for place, study in enumerate(consult.studies)
        ]
        with self._database.write() as connection:
            connection.execute(sa.insert(_consult), rows)

    def close_consult(self, consult_id: str) -> None:
        """Remove a consult; durable on return."""
        with self._database.write() as connection:
            connection.execute(sa.delete(_consult).where(_consult.c.id == consult_id))


def _read(connection: sa.Connection) -> KeptTiers:
    keys = [row["patient_key"] for row in rows_of(connection, _meta)]
    consulted = sorted(rows_of(connection, _consult), key=lambda row: (row["id"], row["place"]))
    tiers = [_tier(row) for row in rows_of(connection, _study)]
    return KeptTiers(keys[0] if keys else None, tiers, _consults(consulted))


def _row(tier: StudyTier) -> dict[str, Any]:
    row = {name: getattr(tier, name) for name in _PLAIN}
    for name in ("routed", "given", "departed"):
        row[name] = None if row[name] is None else int(row[name])
    return {"tenant": tier.study.tenant, "study_instance_uid": tier.study.study_instance_uid, **row}


def _tier(row: dict[str, Any]) -> StudyTier:
    study = StudyRef(row.pop("tenant"), row.pop("study_instance_uid"))
    row["routed"], row["departed"] = Urgency(row["routed"]), Departed(row["departed"])
    row["given"] = None if row["given"] is None else Urgency(row["given"])
    if row["acquired_at"]:
        datetime.fromisoformat(row["acquired_at"])
    return StudyTier(study, **row)


def _consults(rows: Sequence[dict[str, Any]]) -> list[Consult]:
    found: dict[str, Consult] = {}
    for row in rows:
        study = StudyRef(row["tenant"], row["study_instance_uid"])
        known = found.get(row["id"])
        studies = (study,) if known is None else (*known.studies, study)
        urgency, times = Urgency(row["urgency"]), (row["opened_at"], row["ends_at"])
        found[row["id"]] = Consult(row["id"], studies, urgency, row["reason"], *times)
    return list(found.values())
