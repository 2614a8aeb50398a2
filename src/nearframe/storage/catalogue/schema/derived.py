"""What follows from objects: conflicts, events and who reads them, renditions, perceptual hashes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, String, Table

from nearframe.storage.catalogue.schema.base import ID, TEXT, metadata

conflict = Table(
    "conflict",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("tenant", TEXT, nullable=False),
    Column("version_id", BigInteger, nullable=False),
    Column("current_number", Integer, nullable=False),
    Column("resolved_at", BigInteger),
    Column("resolution", TEXT),
    Column("principal", TEXT),
    Index("conflict_by_state", "tenant", "resolved_at"),
    Index("conflict_by_version", "version_id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("tenant", TEXT, nullable=False),
    Column("sop_class_uid", TEXT),
    Column("sop_instance_uid", TEXT),
    Column("series_instance_uid", TEXT),
    Column("study_instance_uid", TEXT),
    Column("version", Integer, nullable=False),
    Column("detail", TEXT, nullable=False),
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
    Column("tenant", TEXT, nullable=False),
    Column("source", LargeBinary, nullable=False),
    Column("transfer_syntax_uid", TEXT, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("resolution_offsets", TEXT, nullable=False),
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
    Column("modality", TEXT, nullable=False),
    Column("length", BigInteger, nullable=False),
    PrimaryKeyConstraint("version_id", "frame_index"),
    sqlite_with_rowid=False,
)
