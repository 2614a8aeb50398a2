"""The tables of the catalogue, in terms that SQLite and PostgreSQL share.

::

    head      one row: epoch, last sequence, next id, totals
    study     identity, search columns, prepared answer; `seq` is its place in the feed
    series    the same one level down
    instance  one row per SOP Instance UID and tenant: which version is current
    version   everything ever stored of an instance; written once
    term      inverted index of names, fragments, modalities -> study

Beside them stand what scanners are told and tell: scheduled and performed steps, commitments; the corrections
that people make, with the versions each led from and to; identifiers that were merged away; HL7 messages;
legal holds, with the studies that each keeps; and what is being let go of for good.

Studies, series and instances that were removed stay as rows that are not listed: the feed
still has to report them, and an older state of a study can still be rebuilt.

Ids are drawn from one counter, so an id names one row of the whole catalogue. Times are
microseconds since 1970, UTC. Large columns stand last: SQLite reads a row from its start
and leaves overflow pages alone that no column of the query needs.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

metadata: Final = MetaData()

# Both compare by code point: ranges, LIKE prefixes and ORDER BY mean the same everywhere.
_TEXT: Final[TypeEngine[str]] = Text().with_variant(Text(collation="C"), "postgresql")
# "INTEGER PRIMARY KEY" is SQLite's row id; other spellings add an index.
_ID: Final[TypeEngine[int]] = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str) -> Column[Any]:
    return Column(name, _TEXT, nullable=False, server_default="")


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
    Column("id", _ID, primary_key=True, autoincrement=False),
    Column("tenant", _TEXT, nullable=False),
    Column("study_instance_uid", _TEXT, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("listed", Boolean, nullable=False),
    # The version whose study attributes stand here: the last one recorded as current.
    Column("source_version_id", BigInteger),
    Column("series_count", Integer, nullable=False),
    Column("instance_count", Integer, nullable=False),
    _text("issuer_of_patient_id"),
    _text("patient_id"),
    _text("patient_birth_date"),
    _text("patient_sex"),
    _text("study_date"),
    _text("study_time"),
    _text("accession_number"),
    _text("study_id"),
    # Normalised by `text`: names (each group, then words and sounds) and descriptions, case and accents folded.
    _text("patient_name"),
    _text("patient_name_ideographic"),
    _text("patient_name_phonetic"),
    _text("patient_name_index"),
    _text("referring_physician_name"),
    _text("referring_physician_name_ideographic"),
    _text("referring_physician_name_phonetic"),
    _text("referring_physician_name_index"),
    _text("study_description"),
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
    Column("id", _ID, primary_key=True, autoincrement=False),
    Column("tenant", _TEXT, nullable=False),
    Column("study_id", BigInteger, nullable=False),
    Column("series_instance_uid", _TEXT, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("source_version_id", BigInteger),
    Column("instance_count", Integer, nullable=False),
    Column("series_number", BigInteger),
    _text("modality"),
    _text("series_date"),
    _text("series_time"),
    _text("body_part_examined"),
    _text("step_start_date"),
    _text("step_start_time"),
    _text("series_description"),
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
    Column("id", _ID, primary_key=True, autoincrement=False),
    Column("tenant", _TEXT, nullable=False),
    Column("sop_instance_uid", _TEXT, nullable=False),
    # Where the current version is filed; None once removed from view.
    Column("series_id", BigInteger),
    Column("current_id", BigInteger),
    Column("last_number", Integer, nullable=False),
    Column("instance_number", BigInteger),
    _text("sop_class_uid"),
    Column("answer", LargeBinary, nullable=False),
    UniqueConstraint("tenant", "sop_instance_uid"),
    Index("instance_by_series", "series_id", "instance_number", "sop_instance_uid"),
    Index("instance_by_class", "tenant", "sop_class_uid", "id"),
)

version = Table(
    "version",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=False),
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
    _text("sop_class_uid"),
    _text("transfer_syntax_uid"),
    Column("hdr", LargeBinary, nullable=False),
    Column("header_bytes", BigInteger, nullable=False),
    Column("file", LargeBinary, nullable=False),
    Column("file_bytes", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    _text("source"),
    _text("notes"),
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
    Column("tenant", _TEXT, nullable=False),
    Column("field", SmallInteger, nullable=False),
    Column("value", _TEXT, nullable=False),
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
    Column("reason", _TEXT, nullable=False),
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

conflict = Table(
    "conflict",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=False),
    Column("tenant", _TEXT, nullable=False),
    Column("version_id", BigInteger, nullable=False),
    Column("current_number", Integer, nullable=False),
    Column("resolved_at", BigInteger),
    Column("resolution", _TEXT),
    Column("principal", _TEXT),
    Index("conflict_by_state", "tenant", "resolved_at"),
    Index("conflict_by_version", "version_id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("tenant", _TEXT, nullable=False),
    Column("sop_class_uid", _TEXT),
    Column("sop_instance_uid", _TEXT),
    Column("series_instance_uid", _TEXT),
    Column("study_instance_uid", _TEXT),
    Column("version", Integer, nullable=False),
    Column("detail", _TEXT, nullable=False),
)

consumer = Table(
    "consumer",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("event_id", BigInteger, nullable=False),
)

rendition = Table(
    "rendition",
    metadata,
    Column("tenant", _TEXT, nullable=False),
    Column("source", LargeBinary, nullable=False),
    Column("transfer_syntax_uid", _TEXT, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("resolution_offsets", _TEXT, nullable=False),
    PrimaryKeyConstraint("tenant", "source", "transfer_syntax_uid"),
    sqlite_with_rowid=False,
)

perceptual = Table(
    "perceptual",
    metadata,
    Column("version_id", BigInteger, nullable=False),
    Column("frame_index", Integer, nullable=False),
    Column("enc", LargeBinary, nullable=False),
    Column("pix", LargeBinary),
    Column("hash", LargeBinary, nullable=False),
    Column("quality", Integer, nullable=False),
    Column("modality", _TEXT, nullable=False),
    Column("length", BigInteger, nullable=False),
    PrimaryKeyConstraint("version_id", "frame_index"),
    sqlite_with_rowid=False,
)

# Since schema 3. What somebody asked to be kept safe (PS3.4 Annex J), and what became of it.
commitment = Table(
    "commitment",
    metadata,
    Column("tenant", _TEXT, nullable=False),
    # Application entity title of who asked; empty by DICOMweb.
    Column("requestor", _TEXT, nullable=False),
    Column("transaction_uid", _TEXT, nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    # When to report next; None once that is done, or given up.
    Column("due_at", BigInteger),
    Column("attempts", Integer, nullable=False),
    # [[SOP Class UID, SOP Instance UID], …], JSON
    Column("asked", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "requestor", "transaction_uid"),
    Index("commitment_by_due", "due_at"),
)

# Since schema 3. Modality Performed Procedure Steps (PS3.4 Annex F).
performed_step = Table(
    "performed_step",
    metadata,
    Column("tenant", _TEXT, nullable=False),
    Column("sop_instance_uid", _TEXT, nullable=False),
    Column("state", _TEXT, nullable=False),
    # Application entity title of who reported it.
    Column("reported_by", _TEXT, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "sop_instance_uid"),
)

# Since schema 3. What is to be done: the items of the Modality Worklist (PS3.4 Annex K).
scheduled_step = Table(
    "scheduled_step",
    metadata,
    Column("tenant", _TEXT, nullable=False),
    # Scheduled Procedure Step ID
    Column("step_id", _TEXT, nullable=False),
    Column("start_date", _TEXT, nullable=False),
    Column("start_time", _TEXT, nullable=False),
    # Of a performed step that answers it; empty before there is one.
    Column("state", _TEXT, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "step_id"),
    Index("scheduled_step_by_start", "tenant", "start_date", "start_time"),
)

# Since schema 4. Corrections: who changed what, when and why.
correction = Table(
    "correction",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=False),
    Column("tenant", _TEXT, nullable=False),
    Column("action", String(32), nullable=False),
    Column("principal", _TEXT, nullable=False),
    Column("reason", _TEXT, nullable=False),
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
    Column("tenant", _TEXT, nullable=False),
    Column("patient_id", _TEXT, nullable=False),
    # As of `study`: empty where none is named.
    Column("issuer", _TEXT, nullable=False),
    Column("into_id", _TEXT, nullable=False),
    Column("into_issuer", _TEXT, nullable=False),
    Column("merged_at", BigInteger, nullable=False),
    # None if nothing was held under it when it was merged.
    Column("correction_id", BigInteger),
    PrimaryKeyConstraint("tenant", "patient_id", "issuer"),
)

# Since schema 5. HL7 messages that were answered: what is sent again is answered again, and done once.
hl7_message = Table(
    "hl7_message",
    metadata,
    Column("tenant", _TEXT, nullable=False),
    # Application and facility
    Column("sender", _TEXT, nullable=False),
    Column("control_id", _TEXT, nullable=False),
    # In the order of their answers.
    Column("number", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("event", _TEXT, nullable=False),
    # Of the application acknowledgement, and what it says.
    Column("code", String(2), nullable=False),
    Column("words", _TEXT, nullable=False),
    # SHA-256 of the message without its time
    Column("digest", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "sender", "control_id"),
    Index("hl7_message_by_number", "tenant", "number", unique=True),
)

# Since schema 6. Work that one of several processes does at a time (`leases`).
lease = Table(
    "lease",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", _TEXT, nullable=False),
    # Fencing: grows whenever the work goes to somebody, and each of its writes names it.
    Column("token", BigInteger, nullable=False),
    Column("taken_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

# Since schema 7. Legal holds: who keeps what as it is, since when and why.
hold = Table(
    "hold",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=False),
    Column("tenant", _TEXT, nullable=False),
    # Of a study, or of a patient: the others are empty.
    _text("study_instance_uid"),
    _text("patient_id"),
    _text("issuer_of_patient_id"),
    Column("principal", _TEXT, nullable=False),
    Column("reason", _TEXT, nullable=False),
    Column("placed_at", BigInteger, nullable=False),
    # None while it stands.
    Column("released_at", BigInteger),
    Column("released_by", _TEXT),
    Column("release_reason", _TEXT),
    Index("hold_by_patient", "tenant", "patient_id"),
)

# Since schema 7. What purged versions referred to, or those of failed corrections, until it is gone from the packs.
letting_go = Table(
    "letting_go",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=False),
    Column("tenant", _TEXT, nullable=False),
    Column("study_instance_uid", _TEXT, nullable=False),
    # The study does not refer to it any more in the store; the bytes may be there still.
    Column("released", Boolean, nullable=False),
    # SHA-256 after SHA-256
    Column("digests", LargeBinary, nullable=False),
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
