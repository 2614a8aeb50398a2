"""What is needed of an object store, as a port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple, Protocol

#: The version of an object in a bucket that keeps none.
NO_VERSION = ""


class Listed(NamedTuple):
    """An object as a listing shows it."""

    name: str
    length: int
    modified: datetime


class Bucket(Protocol):
    """Named objects below one prefix of a bucket, each whole or not there. Usable from several threads.

    What a call returned is durable, and seen by every later call of every client. Names are
    ours: letters, digits, full stops and slashes.

    Every call raises `Busy` if the store does not answer in time or asks for patience, after it
    was asked several times; `NoSpace` if it has no room; and `BackendFailed` if it refuses.
    """

    def put(self, name: str, data: bytes) -> str:
        """Create an object; return its version.

        Safe to call again after an error, with the same bytes.

        Raises
        ------
        Conflict
            If there is an object of that name with other bytes, as far as the store can tell
            (`S3Bucket` says when).
        """
        ...

    def put_parts(self, name: str, parts: Iterable[bytes]) -> str:
        """Create an object of any length, a part after the other; return its version.

        Parameters
        ----------
        parts
            Each of at least 5 MiB, but for the last. If this raises, nothing of the object stays.
        """
        ...

    def get(self, name: str, start: int = 0, stop: int | None = None, version: str = NO_VERSION) -> bytes:
        """Return an object, or as much as there is of bytes ``start:stop``.

        Raises
        ------
        NotFound
            If there is none of that name and version.
        """
        ...

    def has(self, name: str) -> bool:
        """Return whether there is an object of that name."""
        ...

    def list(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects whose name starts with `prefix`, in order of their names."""
        ...

    def remove(self, name: str, version: str = NO_VERSION) -> None:
        """Remove an object; one that is not there is removed already.

        Raises
        ------
        Refused
            If it is under a legal hold.
        """
        ...

    def abort_uploads(self, prefix: str, before: datetime) -> int:
        """Give back what uploads in parts left that began before a moment and never ended; return how many."""
        ...

    def hold(self, name: str, version: str, *, held: bool) -> None:
        """Put an object under a legal hold, or take it out again.

        Raises
        ------
        Refused
            If the bucket has no object lock.
        """
        ...

    def can_hold(self) -> bool:
        """Return whether the bucket has object lock."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...
