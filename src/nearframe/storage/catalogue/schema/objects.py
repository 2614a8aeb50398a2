"""Objects as they are shown: studies, series, instances, their versions, and the feed of what changes."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

from nearframe.storage.catalogue.schema.base import ID, TEXT, metadata, text

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", BigInteger, nullable=False),
)

head = Table(
    "head",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("epoch", String(64), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("next_id", BigInteger, nullable=False),
    # What is in view, of all tenants: counting a million rows would take a second.
    Column("studies", BigInteger, nullable=False),
    Column("instances", BigInteger, nullable=False),
)

study = Table(
    "study",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("tenant", TEXT, nullable=False),
    Column("study_instance_uid", TEXT, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("listed", Boolean, nullable=False),
    # The version whose study attributes stand here: the last one recorded as current.
    Column("source_version_id", BigInteger),
    Column("series_count", Integer, nullable=False),
    Column("instance_count", Integer, nullable=False),
    text("issuer_of_patient_id"),
    text("patient_id"),
    text("patient_birth_date"),
    text("patient_sex"),
    text("study_date"),
    text("study_time"),
    text("accession_number"),
    text("study_id"),
    # Normalised by `text`: names (each group, then words and sounds) and descriptions, case and accents folded.
    text("patient_name"),
    text("patient_name_ideographic"),
    text("patient_name_phonetic"),
    text("patient_name_index"),
    text("referring_physician_name"),
    text("referring_physician_name_ideographic"),
    text("referring_physician_name_phonetic"),
    text("referring_physician_name_index"),
    text("study_description"),
    Column("attributes", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    UniqueConstraint("tenant", "study_instance_uid"),
    Index("study_by_seq", "seq", unique=True),
    Index("study_by_date", "tenant", "listed", "study_date", "study_time", "id"),
    Index("study_by_patient", "tenant", "patient_id"),
)

series = Table(
    "series",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("tenant", TEXT, nullable=False),
    Column("study_id", BigInteger, nullable=False),
    Column("series_instance_uid", TEXT, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("source_version_id", BigInteger),
    Column("instance_count", Integer, nullable=False),
    Column("series_number", BigInteger),
    text("modality"),
    text("series_date"),
    text("series_time"),
    text("body_part_examined"),
    text("step_start_date"),
    text("step_start_time"),
    text("series_description"),
    # {SOP Class UID: number of instances}, JSON
    Column("sop_classes", LargeBinary, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    # Some writers use one Series Instance UID in several studies.
    UniqueConstraint("study_id", "series_instance_uid"),
    Index("series_by_uid", "tenant", "series_instance_uid"),
    Index("series_by_modality", "tenant", "listed", "modality", "id"),
    Index("series_by_age", "tenant", "listed", "id"),
)

instance = Table(
    "instance",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("tenant", TEXT, nullable=False),
    Column("sop_instance_uid", TEXT, nullable=False),
    # Where the current version is filed; None once removed from view.
    Column("series_id", BigInteger),
    Column("current_id", BigInteger),
    Column("last_number", Integer, nullable=False),
    Column("instance_number", BigInteger),
    text("sop_class_uid"),
    Column("answer", LargeBinary, nullable=False),
    UniqueConstraint("tenant", "sop_instance_uid"),
    Index("instance_by_series", "series_id", "instance_number", "sop_instance_uid"),
    Index("instance_by_class", "tenant", "sop_class_uid", "id"),
)

version = Table(
    "version",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("instance_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("study_id", BigInteger, nullable=False),
    Column("series_id", BigInteger, nullable=False),
    # The study's sequences between which it was current; both None if it never was.
    Column("current_from_seq", BigInteger),
    Column("current_to_seq", BigInteger),
    # Deleted by a person or dropped by the upstream: only past states still show it.
    Column("removed", Boolean, nullable=False),
    Column("instance_number", BigInteger),
    text("sop_class_uid"),
    text("transfer_syntax_uid"),
    Column("hdr", LargeBinary, nullable=False),
    Column("header_bytes", BigInteger, nullable=False),
    Column("file", LargeBinary, nullable=False),
    Column("file_bytes", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    text("source"),
    text("notes"),
    Column("pixel", LargeBinary),
    Column("pieces", LargeBinary, nullable=False),
    Column("bulk", LargeBinary, nullable=False),
    Column("frames", LargeBinary, nullable=False),
    Column("metadata", LargeBinary, nullable=False),
    UniqueConstraint("instance_id", "number"),
    Index("version_by_study", "study_id", "series_id"),
)

term = Table(
    "term",
    metadata,
    Column("tenant", TEXT, nullable=False),
    Column("field", SmallInteger, nullable=False),
    Column("value", TEXT, nullable=False),
    Column("study_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "field", "value", "study_id"),
    sqlite_with_rowid=False,
)

# Since schema 2. A class of urgency that was given to a study: the feed tells those who follow.
given_urgency = Table(
    "given_urgency",
    metadata,
    Column("study_id", BigInteger, primary_key=True, autoincrement=False),
    Column("urgency", SmallInteger, nullable=False),
    Column("reason", TEXT, nullable=False),
    # Microseconds since 1970, or None: until another is given.
    Column("until", BigInteger),
)

study_root = Table(
    "study_root",
    metadata,
    Column("study_id", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("seq", BigInteger, nullable=False),
    PrimaryKeyConstraint("study_id", "root"),
    sqlite_with_rowid=False,
)
