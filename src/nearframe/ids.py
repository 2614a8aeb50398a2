"""Identities: SHA-256 digests and DICOM UIDs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

DIGEST_BYTES = 32

#: A SHA-256 value, 32 bytes. Kept as bytes: a frame table holds thousands of them.
Digest: TypeAlias = bytes


def sha256(data: bytes | bytearray | memoryview) -> Digest:
    """Return the SHA-256 of `data`."""
    return hashlib.sha256(data).digest()


def sha256_of(chunks: Iterable[bytes | memoryview]) -> Digest:
    """Return the SHA-256 of the concatenation of `chunks`."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    return state.digest()


def parse_digest(text: str) -> Digest:
    """Read a digest written as 64 hex characters, with or without ``sha256:`` before them.

    Raises
    ------
    ValueError
        If `text` is anything else.
    """
    value = bytes.fromhex(text.removeprefix("sha256:"))
    if len(value) != DIGEST_BYTES:
        raise ValueError("a digest has 64 hex characters")
    return value


@dataclass(frozen=True, slots=True)
class Identity:
    """The UIDs that place an instance. Kept as received, padding removed (PS3.5 section 9.1).

    Some writers send UIDs with letters or beyond 64 characters; they are stored all the
    same and never become part of a path.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


def normalise_uid(value: str) -> str:
    """Strip the padding of VR UI and the blanks that some writers use instead."""
    return value.strip("\0 \t\r\n")
