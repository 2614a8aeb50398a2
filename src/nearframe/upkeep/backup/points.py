"""The points that a vault keeps of one archive."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from nearframe.errors import BackendFailed, Busy, ConfigurationError, IntegrityError, NotFound
from nearframe.ids import sha256
from nearframe.upkeep.backup.point import Part, Point, PointKeys
from nearframe.upkeep.backup.vault import Vault

_POINTS: Final = "points"
_BLOBS: Final = "blobs"


class Points:
    """The points of an archive, oldest first, and the blobs they share."""

    def __init__(self, vault: Vault, keys: PointKeys) -> None:
        self._vault = vault
        self._keys = keys

    def names(self) -> list[str]:
        """Return the names of the points, oldest first."""
        return [name.partition("/")[2] for name in self._vault.names(_POINTS)]

    def load(self, name: str) -> Point:
        """Return a point.

        Raises
        ------
        ConfigurationError
            If it belongs to another archive.
        """
        return Point.decode(self._vault.get(f"{_POINTS}/{name}"), self._keys)

    def latest(self) -> Point | None:
        """Return the last point, if there is one."""
        names = self.names()
        return self.load(names[-1]) if names else None

    def at(self, moment: str | None) -> Point:
        """Return the last point, or the last one at or before a moment.

        Parameters
        ----------
        moment
            The name of a point, or a time as ISO 8601 writes it; local time unless it says another.

        Raises
        ------
        ConfigurationError
            If it is neither, or nothing is that old.
        """
        names = self.names()
        if not names:
            raise ConfigurationError("there is no backup in this folder")
        if moment is None or moment in names:
            return self.load(moment or names[-1])
        before = [name for name in names if name <= _name_at(moment)]
        if not before:
            raise ConfigurationError(f"the oldest backup in this folder is {names[0]}, after {moment}")
        return self.load(before[-1])

    def save(self, point: Point) -> None:
        """Keep a point; its blobs are kept by now.

        Raises
        ------
        Busy
            If there is one of the same microsecond.
        """
        if not self._vault.put(f"{_POINTS}/{point.name}", point.encode(self._keys)):
            raise Busy("a backup of this very moment is there already; try again")

    def put(self, data: bytes) -> tuple[Part, bool]:
        """Keep a blob of some file, as it is; return it, and whether it was not there yet."""
        part = Part(sha256(data), len(data))
        return part, self._vault.put(part.name, data)

    def blob(self, part: Part) -> bytes:
        """Return a blob.

        Raises
        ------
        IntegrityError
            If it is gone, or is not what it was.
        """
        try:
            data = self._vault.get(part.name)
        except NotFound as error:
            raise IntegrityError("a blob of the backup is missing") from error
        if sha256(data) != part.blob:
            raise IntegrityError("a blob of the backup is damaged")
        return data

    def salvage(self, part: Part, start: int = 0, stop: int | None = None) -> bytes:
        """Return a blob, or a part of it, as far as it is there, with zeros for the rest: packs are read past damage.

        Nothing is proved of it.
        """
        stop = part.length if stop is None else min(stop, part.length)
        try:
            data = self._vault.get(part.name, start, stop)
        except (NotFound, BackendFailed):
            data = b""
        return data.ljust(stop - start, b"\0")

    def keep_last(self, count: int) -> int:
        """Remove all points but the last ones, and every blob that none of those needs; return how many points went."""
        names = self.names()
        leaving, staying = names[:-count], names[-count:]
        # Points first: one whose blobs go must not be found by anybody.
        for name in leaving:
            self._vault.remove(f"{_POINTS}/{name}")
        if leaving:
            needed = {part.name for name in staying for part in self.load(name).parts}
            for blob in self._vault.names(_BLOBS):
                if blob not in needed:
                    self._vault.remove(blob)
        return len(leaving)


def _name_at(moment: str) -> str:
    if re.fullmatch(r"\d{8}T\d{6}\.\d{6}Z", moment):
        return moment
    try:
        found = datetime.fromisoformat(moment)
    except ValueError as error:
        raise ConfigurationError(f"{moment} is neither a backup nor a time such as 2026-11-22T18:00") from error
    return found.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
