"""A content on its way, followed by everybody who wants it.

::

    writer ── append ── append ── append ── land
                 │         │         │        │
    readers     first byte …        …     the last 16 KB, once the whole is proved

A reader is given bytes as they come, but for the end of what it asked for: that is withheld
until the digest of the whole is right. So nobody ever holds a whole answer that is wrong.
If the digest is wrong the content is begun anew; whoever was sent a byte by then is cut,
whoever was not has only waited a little longer.

The last reader to leave ends the flight; the first one's leaving alone does not. Until then
others may join, also once all of it is here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from nearframe import tasks
from nearframe.context import Urgency
from nearframe.errors import IntegrityError
from nearframe.units import KIB, MIB

K = TypeVar("K", bound=Hashable)

WITHHELD_BYTES: Final = 16 * KIB
_READ_BYTES: Final = MIB  # most that is handed to a reader at a time


class Shelf(Protocol):
    """Where the bytes of a flight lie: memory, or a scratch file."""

    async def append(self, data: bytes) -> None: ...

    async def read(self, start: int, stop: int) -> bytes: ...

    def close(self) -> None: ...


class MemoryShelf:
    """Bytes in memory.

    Parameters
    ----------
    closed
        Told once nobody needs them any more.
    """

    def __init__(self, closed: Callable[[], None]) -> None:
        self.data = bytearray()
        self._closed = closed

    async def append(self, data: bytes) -> None:
        self.data += data

    async def read(self, start: int, stop: int) -> bytes:
        return bytes(memoryview(self.data)[start:stop])

    def close(self) -> None:
        self._closed()


class Flight:
    """One content on its way: one writer, any number of readers. For one event loop.

    Attributes
    ----------
    length
        None until it is known.
    written
        Bytes that are here.
    urgency
        That of the most urgent who ever wanted it.
    queued_s
        How long it waited for its turn on the line.
    stored
        Whether the store holds it, once it has landed.
    is_proved
        Whether the whole is here, and right.
    is_over
        Whether it has landed, or failed.
    """

    def __init__(self, urgency: Urgency) -> None:
        self.urgency = urgency
        self.length: int | None = None
        self.written = 0
        self.queued_s = 0.0
        self.stored = False
        self.shelf: Shelf | None = None
        self._shelves: list[Shelf] = []
        self.raised: Callable[[Urgency], None] | None = None
        self.is_over = False
        self._hash = hashlib.sha256()
        self.is_proved = False
        self._error: Exception | None = None
        #: Counts beginnings: a reader knows by it that what it was given was not the content.
        self._beginning = 0
        self._readers: set[asyncio.Future[None]] = set()

    # -- for its writer --------------------------------------------------------------------

    def begin(self, length: int, shelf: Shelf) -> None:
        """Say how long it is, and where its bytes are going to lie."""
        self.length, self.shelf = length, shelf
        self._shelves.append(shelf)
        self._tell()

    async def append(self, data: bytes) -> None:
        """Add bytes, and let readers have them."""
        assert self.shelf is not None  # noqa: S101 - begun before anything comes
        await self.shelf.append(data)
        self._hash.update(data)
        self.written += len(data)
        self._tell()

    def digest(self) -> bytes:
        """Return the SHA-256 of what is here."""
        return self._hash.digest()

    def begin_anew(self) -> None:
        """Forget what came: it was not the content. Readers who were sent some of it are cut."""
        self._beginning += 1
        self.length, self.written, self.shelf = None, 0, None
        self._hash = hashlib.sha256()
        self._tell()

    def prove(self) -> None:
        """Say that the whole is here and matches its digest."""
        self.is_proved = True
        self._tell()

    def land(self, *, stored: bool) -> None:
        """Say that everything that is to be done was done."""
        self.stored, self.is_over = stored, True
        self._tell()

    def fail(self, error: Exception) -> None:
        """Say that it does not come; every reader raises `error`."""
        self._error, self.is_over = error, True
        self._tell()

    def close(self) -> None:
        """Let the bytes go: nobody reads any more."""
        while self._shelves:
            self._shelves.pop().close()

    # -- for its readers -------------------------------------------------------------------

    def want(self, urgency: Urgency) -> None:
        """Make it as urgent as a reader who joins."""
        if urgency < self.urgency:
            self.urgency = urgency
            if self.raised is not None:
                self.raised(urgency)

    async def landed(self) -> None:
        """Return when it is over; raise what it failed with."""
        while not self.is_over:
            await self._news()
        if self._error is not None:
            raise self._error

    async def read(self, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield bytes ``start:stop`` as they come, the last of them once the whole is proved.

        Raises
        ------
        IntegrityError
            If bytes that were yielded are not the content's. What was yielded is short of the end.
        """
        beginning, at = self._beginning, start
        while True:
            if beginning != self._beginning:
                if at > start:
                    raise IntegrityError("what the upstream sent does not match its digest; the answer was cut")
                beginning = self._beginning
            upto = self._visible(stop)
            if at < upto:
                assert self.shelf is not None  # noqa: S101 - something is visible
                data = await self.shelf.read(at, min(upto, at + _READ_BYTES))
                if beginning == self._beginning:
                    at += len(data)
                    yield data
            elif self.is_proved:
                return
            elif self._error is not None:
                raise self._error
            else:
                await self._news()

    def _visible(self, stop: int | None) -> int:
        """Return up to where a reader that wants no more than `stop` may see."""
        if self.length is None:
            return 0
        end = self.length if stop is None else min(stop, self.length)
        return end if self.is_proved else min(self.written, end - WITHHELD_BYTES)

    async def _news(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._readers.add(future)
        try:
            await future
        finally:
            self._readers.discard(future)

    def _tell(self) -> None:
        for future in self._readers:
            if not future.done():
                future.set_result(None)
        self._readers.clear()


Write: TypeAlias = Callable[[Flight], Coroutine[Any, Any, None]]


class _Entry:
    """A flight, how many follow it, and how to bring it home if whoever leads it does not."""

    def __init__(self, flight: Flight) -> None:
        self.flight = flight
        self.followers = 0
        self.write: Write | None = None
        self.task: asyncio.Task[None] | None = None


class Flights(Generic[K]):
    """The flights under way, one for each content. For one event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._entries: dict[K, _Entry] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    @asynccontextmanager
    async def join(self, key: K, urgency: Urgency, write: Write) -> AsyncIterator[Flight]:
        """Follow the flight of a content while the block runs; if there is none, start one that `write` brings home."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(Flight(urgency))
            entry.task = tasks.spawn(self._fly(key, entry, write), name=self._name)
        entry.write = write
        entry.followers += 1
        try:
            entry.flight.want(urgency)
            yield entry.flight
        finally:
            self._leave(key, entry)

    @asynccontextmanager
    async def lead(self, key: K, urgency: Urgency) -> AsyncIterator[Flight]:
        """Bring a content home in the block; others may join meanwhile.

        There must be none for `key` yet. If the flight is not over at the end of the block, one of
        those who joined takes it over from where it stands.
        """
        entry = self._entries[key] = _Entry(Flight(urgency))
        entry.followers += 1
        try:
            yield entry.flight
        finally:
            if entry.write is not None and entry.followers > 1 and not entry.flight.is_over:
                entry.task = tasks.spawn(self._fly(key, entry, entry.write), name=self._name)
            else:
                self._remove(key, entry)
            self._leave(key, entry)

    async def _fly(self, key: K, entry: _Entry, write: Write) -> None:
        is_home = False
        try:
            await write(entry.flight)
            is_home = True
        except Exception as error:  # noqa: BLE001 - every reader raises it
            entry.flight.fail(error)
        finally:
            # One that failed before any reader wakes, so that who asks again starts a new flight.
            # One that is home may be joined as long as anybody follows it.
            if not (is_home and entry.followers):
                self._remove(key, entry)
            if not entry.followers:
                entry.flight.close()

    def _leave(self, key: K, entry: _Entry) -> None:
        entry.followers -= 1
        if entry.followers:
            return
        if entry.task is None or entry.task.done():
            self._remove(key, entry)
            entry.flight.close()
        elif not entry.flight.is_proved:
            self._remove(key, entry)
            entry.task.cancel()  # closes it at its end
        # Else it is being stored: whoever asks until it is joins, and is given it at once.

    def _remove(self, key: K, entry: _Entry) -> None:
        if self._entries.get(key) is entry:
            del self._entries[key]
