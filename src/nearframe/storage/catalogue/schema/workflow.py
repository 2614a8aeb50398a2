"""What is asked of an archive, and told to it: commitments, procedure steps, HL7 messages, leases."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, String, Table

from nearframe.storage.catalogue.schema.base import TEXT, metadata

# Since schema 3. What somebody asked to be kept safe (PS3.4 Annex J), and what became of it.
commitment = Table(
    "commitment",
    metadata,
    Column("tenant", TEXT, nullable=False),
    # Application entity title of who asked; empty by DICOMweb.
    Column("requestor", TEXT, nullable=False),
    Column("transaction_uid", TEXT, nullable=False),
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
    Column("tenant", TEXT, nullable=False),
    Column("sop_instance_uid", TEXT, nullable=False),
    Column("state", TEXT, nullable=False),
    # Application entity title of who reported it.
    Column("reported_by", TEXT, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "sop_instance_uid"),
)

# Since schema 3. What is to be done: the items of the Modality Worklist (PS3.4 Annex K).
scheduled_step = Table(
    "scheduled_step",
    metadata,
    Column("tenant", TEXT, nullable=False),
    # Scheduled Procedure Step ID
    Column("step_id", TEXT, nullable=False),
    Column("start_date", TEXT, nullable=False),
    Column("start_time", TEXT, nullable=False),
    # Of a performed step that answers it; empty before there is one.
    Column("state", TEXT, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "step_id"),
    Index("scheduled_step_by_start", "tenant", "start_date", "start_time"),
)

# Since schema 5. HL7 messages that were answered: what is sent again is answered again, and done once.
hl7_message = Table(
    "hl7_message",
    metadata,
    Column("tenant", TEXT, nullable=False),
    # Application and facility
    Column("sender", TEXT, nullable=False),
    Column("control_id", TEXT, nullable=False),
    # In the order of their answers.
    Column("number", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("event", TEXT, nullable=False),
    # Of the application acknowledgement, and what it says.
    Column("code", String(2), nullable=False),
    Column("words", TEXT, nullable=False),
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
    Column("holder", TEXT, nullable=False),
    # Fencing: grows whenever the work goes to somebody, and each of its writes names it.
    Column("token", BigInteger, nullable=False),
    Column("taken_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
