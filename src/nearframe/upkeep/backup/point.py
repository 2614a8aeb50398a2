"""A point: one moment of an archive, as the list of blobs that bring it back. Bytes <-> values.

A point is a line with a MAC in hex, under a key that comes from the archive's root key, and a
line of JSON. Lists of blobs are ``[SHA-256, bytes]``, in the order in which they are joined::

    {"format": 1, "taken_at": "2026-11-22T19:45:00.000001+00:00", "release": "0.4.0",
     "schema": 3, "head": "epoch:seq", "studies": 12, "instances": 3400,
     "catalogue": [["…", 1048576, "mark"], …],
     "ring": [["…", 256], …],
     "packs": [{"number": 1, "tail": "…", "parts": [["…", 16777216], …]}, …]}

Blobs of packs and ring are what stands in the archive's own files, which is sealed there. Those
of the catalogue are compressed and sealed (`PointKeys.seal`); their ``mark`` tells whether a
page has changed since.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.errors import ConfigurationError, IntegrityError
from nearframe.ids import Digest, parse_digest
from nearframe.storage.catalogue.snapshot import Snapshot
from nearframe.storage.packs.keys import derive
from nearframe.storage.packs.seal import compress, decompress
from nearframe.storage.ports import FeedCursor

FORMAT: Final = 1
_NONCE_BYTES: Final = 12


class PointKeys:
    """What the root key of an archive gives its backups."""

    def __init__(self, root_key: bytes) -> None:
        self._points = derive(root_key, "backup points")
        self._marks = derive(root_key, "backup marks")
        self._pages = AESGCM(derive(root_key, "backup pages"))

    def mac(self, data: bytes) -> bytes:
        """Return what proves that a point was written by who has the root key."""
        return hmac.digest(self._points, data, "sha256")

    def mark(self, page: bytes) -> Digest:
        """Return what tells one page of the catalogue from another, and nothing of it to others."""
        return hmac.digest(self._marks, page, "sha256")

    def seal(self, page: bytes, mark: Digest) -> bytes:
        """Compress and seal a page of the catalogue."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._pages.encrypt(nonce, compress(page), mark)

    def open(self, sealed: bytes, length: int, mark: Digest) -> bytes:
        """Return a page of the catalogue.

        Raises
        ------
        IntegrityError
            If it does not open, or is another one.
        """
        try:
            coded = self._pages.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], mark)
        except (InvalidTag, ValueError) as error:
            raise IntegrityError("a page of the catalogue does not open under this root key") from error
        return decompress(coded, length)


@dataclass(frozen=True, slots=True)
class Part:
    """A blob, and the bytes it has."""

    blob: Digest
    length: int

    @property
    def name(self) -> str:
        """Return its name in the vault."""
        return f"blobs/{self.blob.hex()}"


@dataclass(frozen=True, slots=True)
class Page:
    """A sealed piece of the catalogue; `part.length` counts before compression and sealing."""

    part: Part
    mark: Digest


@dataclass(frozen=True, slots=True)
class PackCopy:
    """A pack, as far as it went; `tail` is that of `StandingPack.tail_at`."""

    number: int
    parts: tuple[Part, ...]
    tail: Digest

    @property
    def length(self) -> int:
        return sum(part.length for part in self.parts)


@dataclass(frozen=True, slots=True)
class Point:
    """One moment of an archive."""

    taken_at: datetime
    release: str
    holds: Snapshot
    catalogue: tuple[Page, ...]
    ring: tuple[Part, ...]
    packs: tuple[PackCopy, ...]

    @property
    def name(self) -> str:
        """Return its name: the time it was taken, UTC, so that names sort as times do."""
        return self.taken_at.strftime("%Y%m%dT%H%M%S.%fZ")

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return every blob it needs."""
        packs = (part for pack in self.packs for part in pack.parts)
        return (*(page.part for page in self.catalogue), *self.ring, *packs)

    @property
    def length(self) -> int:
        """Return the bytes it restores to, the index of the packs left out."""
        return sum(part.length for part in self.parts)

    def encode(self, keys: PointKeys) -> bytes:
        """Return the point as bytes."""
        document = {
            "format": FORMAT,
            "taken_at": self.taken_at.isoformat(timespec="microseconds"),
            "release": self.release,
            "schema": self.holds.schema,
            "head": str(self.holds.head),
            "studies": self.holds.studies,
            "instances": self.holds.instances,
            "catalogue": [[*_listed(page.part), page.mark.hex()] for page in self.catalogue],
            "ring": [_listed(part) for part in self.ring],
            "packs": [
                {"number": pack.number, "tail": pack.tail.hex(), "parts": [_listed(part) for part in pack.parts]}
                for pack in self.packs
            ],
        }
        data = json.dumps(document, separators=(",", ":")).encode()
        return keys.mac(data).hex().encode() + b"\n" + data

    @classmethod
    def decode(cls, data: bytes, keys: PointKeys) -> Point:
        """Read a point.

        Raises
        ------
        ConfigurationError
            If it was written under another root key, or by a newer release.
        IntegrityError
            If it is no point.
        """
        mac, _, document = data.partition(b"\n")
        if not hmac.compare_digest(mac, keys.mac(document).hex().encode()):
            raise ConfigurationError(
                "a backup there was made under another root key, or was changed since: give the root key of that "
                "archive, or another folder"
            )
        try:
            found = json.loads(document)
            if found["format"] > FORMAT:
                raise ConfigurationError("a newer release made this backup: restore it with that")
            return _point(found)
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError("a point of the backup does not read") from error


def _listed(part: Part) -> list[str | int]:
    return [part.blob.hex(), part.length]


def _part(blob: str, length: int) -> Part:
    return Part(parse_digest(blob), length)


def _point(found: dict[str, Any]) -> Point:
    return Point(
        taken_at=datetime.fromisoformat(found["taken_at"]),
        release=found["release"],
        holds=Snapshot(found["schema"], FeedCursor.parse(found["head"]), found["studies"], found["instances"]),
        catalogue=tuple(Page(_part(blob, length), parse_digest(mark)) for blob, length, mark in found["catalogue"]),
        ring=tuple(_part(*part) for part in found["ring"]),
        packs=tuple(
            PackCopy(pack["number"], tuple(_part(*part) for part in pack["parts"]), parse_digest(pack["tail"]))
            for pack in found["packs"]
        ),
    )
