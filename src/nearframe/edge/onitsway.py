"""Where a content lies on its way: in memory, within a budget, or in an encrypted file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nearframe.cache.budget import Budget
from nearframe.query.workers import Workers
from nearframe.storage.scratch import ScratchFile
from nearframe.units import MIB

_SCRATCH_CHUNK_BYTES = MIB


class Room:
    """Memory reserved for one content, given back when the last who needs it leaves."""

    def __init__(self, memory: Budget, patience_s: float) -> None:
        self._memory = memory
        self._patience_s = patience_s
        self._reserved = 0
        self._users = 1

    async def reserve(self, size_bytes: int) -> None:
        """Wait until there is room for so much in all; raises `Busy`."""
        more = size_bytes - self._reserved
        if more > 0:
            await self._memory.reserve(more, self._patience_s)
            self._reserved += more

    def enter(self) -> Callable[[], None]:
        """Count another user; return what it calls to leave."""
        self._users += 1
        return self.leave

    def leave(self) -> None:
        """Count a user less; the last one gives the memory back."""
        self._users -= 1
        if not self._users:
            self._memory.release(self._reserved)


class ScratchShelf:
    """The bytes of a large content, encrypted on the disk."""

    def __init__(self, file: ScratchFile, workers: Workers) -> None:
        self._file = file
        self._workers = workers

    async def append(self, data: bytes) -> None:
        await self._workers.run(self._file.write, data)

    async def read(self, start: int, stop: int) -> bytes:
        return await self._workers.run(self._file.read, start, stop - start)

    def read_back(self, length: int) -> Iterator[bytes]:
        """Yield everything; for a worker thread."""
        for at in range(0, length, _SCRATCH_CHUNK_BYTES):
            yield self._file.read(at, min(_SCRATCH_CHUNK_BYTES, length - at))

    def close(self) -> None:
        self._file.close()
