"""A vault in a bucket."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

from nearframe.clock import Clock
from nearframe.errors import Busy, Conflict, NotFound
from nearframe.storage.s3 import Bucket
from nearframe.upkeep.backup.itself import has_ended, own_name

#: A writer that has said nothing for so long is dead: longer than any blob takes, shorter than a night.
LEASE: Final = timedelta(hours=1)
_LOCKS: Final = "lock/"


class S3Vault:
    """A vault in a bucket, for the time of a block.

    A writer leaves an object that says since when it writes, and says so again from time to time;
    one that finds another's gives way, unless that one's process ran on this machine and is gone.
    In a bucket with versions what is removed stays as an older version, for as long as the bucket's
    own rules say.

    Parameters
    ----------
    bucket
        Closed with the vault.
    writes
        Be its only writer.

    Raises
    ------
    Busy
        If another process writes to it.
    """

    def __init__(self, bucket: Bucket, clock: Clock, *, writes: bool = False) -> None:
        self._bucket = bucket
        self._clock = clock
        self._lock = ""
        self._said_at = clock.now()
        if writes:
            try:
                self._say()
                self._give_way()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write, and let go of the bucket."""
        try:
            if self._lock:
                self._bucket.remove(self._lock)
                self._lock = ""
        finally:
            self._bucket.close()

    def put(self, name: str, data: bytes) -> bool:
        if self._clock.now() - self._said_at > LEASE / 4:
            self._say()
        if self._bucket.has(name):
            return False
        with suppress(Conflict):  # sealed anew it has other bytes, and says the same
            self._bucket.put(name, data)
        return True

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        try:
            return self._bucket.get(name, start, stop)
        except NotFound:
            raise NotFound("blob in the backup") from None

    def names(self, prefix: str) -> list[str]:
        return [one.name for one in self._bucket.list(f"{prefix}/")]

    def remove(self, name: str) -> None:
        self._bucket.remove(name)

    def _say(self) -> None:
        """Say that we write, now."""
        before, now = self._lock, self._clock.now()
        name = f"{_LOCKS}{secrets.token_hex(8)}"
        self._bucket.put(name, f"{now.isoformat()} {own_name()}".encode())
        self._lock, self._said_at = name, now
        if before:
            self._bucket.remove(before)

    def _give_way(self) -> None:
        # Each sees what the other wrote before it looked: of two that come at once at most one goes on.
        for other in list(self._bucket.list(_LOCKS)):
            if other.name == self._lock:
                continue
            if self._is_alive(other.name):
                raise Busy("another backup into this bucket is under way; try again when it has ended")
            self._bucket.remove(other.name)  # its writer died

    def _is_alive(self, name: str) -> bool:
        try:
            said_at, _, writer = self._bucket.get(name).decode().partition(" ")
            return self._clock.now() - datetime.fromisoformat(said_at) < LEASE and not has_ended(writer)
        except (NotFound, ValueError):
            return False
