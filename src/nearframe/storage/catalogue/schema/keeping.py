"""What people do with what is stored: corrections, merges, holds, purges."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, String, Table

from nearframe.storage.catalogue.schema.base import ID, TEXT, metadata, text

# Since schema 4. Corrections: who changed what, when and why.
correction = Table(
    "correction",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("tenant", TEXT, nullable=False),
    Column("action", String(32), nullable=False),
    Column("principal", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("instances", Integer, nullable=False),
    # Other corrections
    Column("undoes", BigInteger),
    Column("undone_by", BigInteger),
    # What was asked, JSON
    Column("detail", LargeBinary, nullable=False),
    Index("correction_by_tenant", "tenant", "id"),
)

# Since schema 4. The versions in view before and after a correction; None where none was.
corrected = Table(
    "corrected",
    metadata,
    Column("correction_id", BigInteger, nullable=False),
    Column("instance_id", BigInteger, nullable=False),
    Column("before_id", BigInteger),
    Column("after_id", BigInteger),
    PrimaryKeyConstraint("correction_id", "instance_id"),
    Index("corrected_by_instance", "instance_id"),
    sqlite_with_rowid=False,
)

# Since schema 4. Instances out of view by a correction: sending them again does not bring them back.
withdrawn = Table(
    "withdrawn",
    metadata,
    Column("instance_id", BigInteger, primary_key=True, autoincrement=False),
    Column("correction_id", BigInteger, nullable=False),
)

# Since schema 5. Identifiers that a merge gave up: what comes under them belongs to somebody else.
merged_identifier = Table(
    "merged_identifier",
    metadata,
    Column("tenant", TEXT, nullable=False),
    Column("patient_id", TEXT, nullable=False),
    # As of `study`: empty where none is named.
    Column("issuer", TEXT, nullable=False),
    Column("into_id", TEXT, nullable=False),
    Column("into_issuer", TEXT, nullable=False),
    Column("merged_at", BigInteger, nullable=False),
    # None if nothing was held under it when it was merged.
    Column("correction_id", BigInteger),
    PrimaryKeyConstraint("tenant", "patient_id", "issuer"),
)

# Since schema 7. Legal holds: who keeps what as it is, since when and why.
hold = Table(
    "hold",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("tenant", TEXT, nullable=False),
    # Of a study, or of a patient: the others are empty.
    text("study_instance_uid"),
    text("patient_id"),
    text("issuer_of_patient_id"),
    Column("principal", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("placed_at", BigInteger, nullable=False),
    # None while it stands.
    Column("released_at", BigInteger),
    Column("released_by", TEXT),
    Column("release_reason", TEXT),
    Index("hold_by_patient", "tenant", "patient_id"),
)

# Since schema 7. The studies of a hold. What once was one stays one until the hold is released, whoever it names later.
held = Table(
    "held",
    metadata,
    Column("study_id", BigInteger, nullable=False),
    Column("hold_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("study_id", "hold_id"),
    Index("held_by_hold", "hold_id"),
    sqlite_with_rowid=False,
)

# Since schema 7. What purged versions referred to, or those of failed corrections, until it is gone from the packs.
letting_go = Table(
    "letting_go",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("tenant", TEXT, nullable=False),
    Column("study_instance_uid", TEXT, nullable=False),
    # The study does not refer to it any more in the store; the bytes may be there still.
    Column("released", Boolean, nullable=False),
    # SHA-256 after SHA-256
    Column("digests", LargeBinary, nullable=False),
)
