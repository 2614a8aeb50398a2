"""What the tables are made of."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Integer, MetaData, Text
from sqlalchemy.types import TypeEngine

metadata: Final = MetaData()

# Compares by code point everywhere: ranges, LIKE prefixes and ORDER BY mean the same.
TEXT: Final[TypeEngine[str]] = Text().with_variant(Text(collation="C"), "postgresql")
# "INTEGER PRIMARY KEY" is SQLite's row id; other spellings add an index.
ID: Final[TypeEngine[int]] = BigInteger().with_variant(Integer(), "sqlite")


def text(name: str) -> Column[Any]:
    """Return a column of text, empty where nothing is said."""
    return Column(name, TEXT, nullable=False, server_default="")
