"""The tables of the object store's index, in terms that SQLite and PostgreSQL share.

::

    store_state    one row: version, whose bucket it is, a number that goes up when what was looked up may be wrong
    store_key      the key ring: a slot for each tenant and study (`packs.slots`)
    store_object   every object there is, and how much of it is alive
    store_content  one row per content of a tenant: where it is, and the first study that holds it
    store_wrap     the other studies that hold a content
    store_moment   when what one origin does for all was done last

In PostgreSQL they stand beside the catalogue's; with an SQLite catalogue they have a file of their own,
since a catalogue's transaction waits for one of theirs.
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
    Table,
    Text,
)

metadata: Final = MetaData()

VERSION: Final = 1


def _bytes(name: str, **options: Any) -> Column[Any]:
    return Column(name, LargeBinary, nullable=False, **options)


def _number(name: str, **options: Any) -> Column[Any]:
    return Column(name, BigInteger, nullable=False, **options)


state = Table(
    "store_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    # Also in the bucket: an index and a bucket that do not belong together are refused.
    Column("archive", Text, nullable=False),
    # Of the root key: an origin with another one is refused when it starts.
    _bytes("root_key_mark"),
    _number("generation"),
    # When the bucket was last listed for what the index does not know: once a day, by whichever origin is first.
    _number("swept_at"),
)

key = Table(
    "store_key",
    metadata,
    _bytes("handle", primary_key=True),
    Column("kind", SmallInteger, nullable=False),
    _bytes("slot"),
)

stored_object = Table(
    "store_object",
    metadata,
    _number("id", primary_key=True, autoincrement=False),
    Column("version", Text, nullable=False),
    _number("length"),
    _number("live_bytes"),
    _number("contents"),
    _number("plain_bytes"),
    # Microseconds since 1970.
    _number("written_at"),
    # Nothing of it is needed any more since then, and it goes once nobody can be reading it.
    Column("retired_at", BigInteger),
    Column("held", Boolean, nullable=False),
)

content = Table(
    "store_content",
    metadata,
    _number("object_id"),
    _number("offset"),
    _number("plain_length"),
    _number("stored_length"),
    Column("kind", SmallInteger, nullable=False),
    Column("coding", SmallInteger, nullable=False),
    Column("chunk_log2", SmallInteger, nullable=False),
    Column("damaged", Boolean, nullable=False),
    _bytes("content_id", primary_key=True),
    _bytes("key_tag"),
    _bytes("nonce_prefix"),
    _bytes("holder"),
    _bytes("wrap_nonce"),
    _bytes("wrapped"),
    Index("store_content_by_object", "object_id", "offset"),
    Index("store_content_by_holder", "holder"),
)

wrap = Table(
    "store_wrap",
    metadata,
    _bytes("content_id"),
    _bytes("study_key_id"),
    _bytes("wrap_nonce"),
    _bytes("wrapped"),
    PrimaryKeyConstraint("content_id", "study_key_id"),
    Index("store_wrap_by_study", "study_key_id"),
)

# Studies under a legal hold: what is stored for them from now on goes under it too.
hold = Table(
    "store_hold",
    metadata,
    _bytes("study_key_id", primary_key=True),
)

moment = Table(
    "store_moment",
    metadata,
    Column("name", Text, primary_key=True),
    # Microseconds since 1970.
    _number("at"),
)
