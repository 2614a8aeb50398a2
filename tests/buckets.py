"""A bucket in memory: quick, and it fails when told to, before or after it did what it was asked."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from nearframe.errors import Busy, Conflict, NotFound, Refused
from nearframe.storage.s3 import Listed
from nearframe.storage.s3.bucket import NO_VERSION

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def nothing(_operation: str) -> None:
    """Let a call pass."""


class MemoryBucket:
    """A `Bucket` in memory.

    Attributes
    ----------
    before, after
        Called with the operation's name around each call; may raise.
    asked
        How often each operation was called.
    """

    def __init__(self, *, object_lock: bool = False) -> None:
        self.objects: dict[str, bytes] = {}
        self.modified: dict[str, datetime] = {}
        self.held: set[str] = set()
        self.unfinished: dict[str, datetime] = {}
        self.before: Callable[[str], None] = nothing
        self.after: Callable[[str], None] = nothing
        self.asked: Counter[str] = Counter()
        self.now = _NOW
        self._object_lock = object_lock
        self._lock = threading.Lock()

    def put(self, name: str, data: bytes) -> str:
        self._begin("put")
        with self._lock:
            if self.objects.setdefault(name, bytes(data)) != data:
                raise Conflict("there is another object of this name")
            self.modified[name] = self.now
        self.after("put")
        return NO_VERSION

    def put_parts(self, name: str, parts: Iterable[bytes]) -> str:
        self._begin("put_parts")
        whole = b"".join(parts)
        with self._lock:
            self.objects[name], self.modified[name] = whole, self.now
        self.after("put_parts")
        return NO_VERSION

    def get(self, name: str, start: int = 0, stop: int | None = None, version: str = NO_VERSION) -> bytes:
        self._begin("get")
        with self._lock:
            if name not in self.objects:
                raise NotFound("object")
            return self.objects[name][start:stop]

    def has(self, name: str) -> bool:
        self._begin("has")
        return name in self.objects

    def list(self, prefix: str) -> Iterator[Listed]:
        self._begin("list")
        with self._lock:
            found = [
                Listed(name, len(data), self.modified[name])
                for name, data in sorted(self.objects.items())
                if name.startswith(prefix)
            ]
        yield from found

    def remove(self, name: str, version: str = NO_VERSION) -> None:
        self._begin("remove")
        with self._lock:
            if name in self.held:
                raise Refused("under a legal hold")
            self.objects.pop(name, None)

    def abort_uploads(self, prefix: str, before: datetime) -> int:
        self._begin("abort_uploads")
        old = [name for name, began in self.unfinished.items() if began < before]
        for name in old:
            del self.unfinished[name]
        return len(old)

    def hold(self, name: str, version: str, *, held: bool) -> None:
        self._begin("hold")
        if not self._object_lock:
            raise Refused("no object lock")
        (self.held.add if held else self.held.discard)(name)

    def can_hold(self) -> bool:
        return self._object_lock

    def close(self) -> None:
        pass

    def _begin(self, operation: str) -> None:
        self.asked[operation] += 1
        self.before(operation)


def failing(operation: str, *, times: int = 1) -> Callable[[str], None]:
    """Return what makes the next calls of an operation fail as a store does that does not answer."""
    left = times

    def fail(called: str) -> None:
        nonlocal left
        if called == operation and left:
            left -= 1
            raise Busy("the object store does not answer; try again")

    return fail
