"""Where incoming bytes wait, in bounded memory and never in clear on disk, until they are taken apart.

A part up to a threshold stays in memory; a larger one goes to an encrypted scratch file.
Room is reserved before bytes are accepted. When memory is taken, parts go to disk; when
disk is taken, the sender waits a little and is then told to come back.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from nearframe.cache.budget import Budget
from nearframe.errors import BackendFailed, LimitExceeded, MalformedDICOM, NoSpace
from nearframe.storage.ports import Buffer
from nearframe.storage.scratch import EncryptedFile
from nearframe.units import GIB, KIB, MIB

CHUNK_BYTES = MIB  # the most that `Spooled.chunks` yields at once
#: One encryption and one write: so much of each part that goes to disk is in memory.
_WRITE_BYTES = 256 * KIB
#: Chunks up to this size are put together as they come. Larger ones stay as they are: that costs no copy, and
#: leaves no holes on the heap, as a buffer does that grows and moves (50 MiB for 50 parts at once).
_SMALL_BYTES = 16 * KIB
_DISK_STEP_BYTES = 16 * MIB  # room on disk is reserved in steps of this where no length was declared


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """How much may wait at once.

    Attributes
    ----------
    threshold_bytes
        A part stays in memory up to this size.
    memory_bytes, disk_bytes
        For all waiting parts together.
    reserve_bytes
        Free space of the file system that the spool never touches.
    max_instance_bytes
        A larger part is refused.
    patience_s
        How long a sender waits for room before it is told to come back.
    """

    threshold_bytes: int = 2 * MIB
    memory_bytes: int = 64 * MIB
    disk_bytes: int = 16 * GIB
    reserve_bytes: int = 256 * MIB
    max_instance_bytes: int = 8 * GIB
    patience_s: float = 2.0


class Spooled:
    """A part that arrived in full: a `dicom.model.Source`. Close it to give its room back."""

    def __init__(self, data: bytes | EncryptedFile, size: int, holds: _Holds) -> None:
        self._data = data
        self._size = size
        self._holds = holds

    @property
    def size(self) -> int:
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes.

        Raises
        ------
        MalformedDICOM
            If the part ends before that.
        """
        if offset < 0 or length < 0 or offset + length > self._size:
            raise MalformedDICOM(f"{length} bytes wanted where the object ends", offset=offset)
        if isinstance(self._data, EncryptedFile):
            return self._data.read(offset, length)
        return self._data[offset : offset + length]

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield a range of the part in chunks of bounded size."""
        end = self._size if stop is None else stop
        for at in range(start, end, CHUNK_BYTES):
            yield self.read(at, min(CHUNK_BYTES, end - at))

    def close(self) -> None:
        """Forget the bytes. On the event loop."""
        if isinstance(self._data, EncryptedFile):
            self._data.close()
        self._data, self._size = b"", 0
        self._holds.give_back()


class Spool:
    """Receives parts. For one event loop; large writes leave it for a thread."""

    def __init__(self, folder: Path, limits: SpoolLimits | None = None) -> None:
        self.limits = limits or SpoolLimits()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._memory = Budget(self.limits.memory_bytes)
        self._disk = Budget(self.limits.disk_bytes)

    @property
    def memory_used_bytes(self) -> int:
        return self._memory.used_bytes

    @property
    def disk_used_bytes(self) -> int:
        return self._disk.used_bytes

    async def receive(self, body: AsyncIterator[Buffer], declared_bytes: int = 0) -> Spooled:
        """Take in a part to its end.

        Parameters
        ----------
        declared_bytes
            Its length if the sender gave one: room is then reserved at once.

        Raises
        ------
        LimitExceeded
            If it is longer than one instance may be: the body is not read further.
        Busy
            If there is no room and none became free in time.
        NoSpace
            If the file system is full.
        """
        receiver = _Receiver(self, _Holds(self._memory, self._disk, self.limits.patience_s))
        try:
            await receiver.make_room(declared_bytes)
            async for chunk in body:
                await receiver.add(chunk)
            return await receiver.finish()
        except BaseException:
            receiver.give_up()
            raise

    def check_size(self, size_bytes: int) -> None:
        """Refuse a part that may not be, or that the spool could never hold."""
        most = min(self.limits.max_instance_bytes, self.limits.disk_bytes)
        if size_bytes > most:
            raise LimitExceeded("max_instance_bytes", most)

    def open_file(self, size_bytes: int) -> EncryptedFile:
        """Open a scratch file for a part of `size_bytes` or more, unless that would touch the reserve."""
        state = os.statvfs(self._folder)
        free_bytes = state.f_bavail * state.f_frsize - self.limits.reserve_bytes
        if size_bytes > free_bytes:
            raise NoSpace(size_bytes, max(free_bytes, 0))
        try:
            return EncryptedFile(self._folder)
        except OSError as error:
            raise _storage_error(error, size_bytes) from error


class _Holds:
    """What one part has reserved of the shared budgets."""

    def __init__(self, memory: Budget, disk: Budget, patience_s: float) -> None:
        self._memory, self._disk, self._patience_s = memory, disk, patience_s
        self._memory_bytes = 0
        self._disk_bytes = 0

    def try_memory(self, size_bytes: int) -> bool:
        """Hold `size_bytes` of memory in all, if there is room."""
        more = size_bytes - self._memory_bytes
        if more > 0:
            if not self._memory.try_reserve(more):
                return False
            self._memory_bytes = size_bytes
        return True

    async def disk(self, size_bytes: int) -> None:
        """Hold at least `size_bytes` of disk in all."""
        if size_bytes > self._disk_bytes:
            more = min(max(size_bytes - self._disk_bytes, _DISK_STEP_BYTES), self._disk.total_bytes)
            await self._disk.reserve(more, self._patience_s)
            self._disk_bytes += more

    def release_memory(self) -> None:
        self._memory.release(self._memory_bytes)
        self._memory_bytes = 0

    def give_back(self) -> None:
        self.release_memory()
        self._disk.release(self._disk_bytes)
        self._disk_bytes = 0


class _Receiver:
    """One part on its way in: in memory until it outgrows that, then in a file."""

    def __init__(self, spool: Spool, holds: _Holds) -> None:
        self._spool = spool
        self._holds = holds
        self._size = 0
        self._parts: list[bytes | bytearray] = []
        self._parts_bytes = 0
        self._file: EncryptedFile | None = None

    async def make_room(self, size_bytes: int) -> None:
        """Have room for a part of `size_bytes` in all, in memory or on disk."""
        self._spool.check_size(size_bytes)
        if self._file is None:
            if size_bytes <= self._spool.limits.threshold_bytes and self._holds.try_memory(size_bytes):
                return
            await self._holds.disk(size_bytes)
            self._file = self._spool.open_file(size_bytes)
            await self._flush()
            self._holds.release_memory()
        await self._holds.disk(size_bytes)

    async def add(self, chunk: Buffer) -> None:
        self._size += len(chunk)
        await self.make_room(self._size)
        if len(chunk) > _SMALL_BYTES:
            self._parts.append(bytes(chunk))
        elif self._parts and isinstance(self._parts[-1], bytearray):
            self._parts[-1] += chunk
        else:
            self._parts.append(bytearray(chunk))
        self._parts_bytes += len(chunk)
        if self._parts_bytes >= _WRITE_BYTES:
            await self._flush()

    async def finish(self) -> Spooled:
        await self._flush()
        return Spooled(self._file or b"".join(self._parts), self._size, self._holds)

    def give_up(self) -> None:
        if self._file is not None:
            self._file.close()
        self._holds.give_back()

    async def _flush(self) -> None:
        """Write what is buffered; off the loop, since a page cache under pressure makes writes wait."""
        if self._file is None or not self._parts:
            return
        full, self._parts, size, self._parts_bytes = self._parts, [], self._parts_bytes, 0
        try:
            await asyncio.to_thread(_write, self._file, full)
        except OSError as error:
            raise _storage_error(error, size) from error


def _write(file: EncryptedFile, parts: list[bytes | bytearray]) -> None:
    for part in parts:
        file.write(part)


def _storage_error(error: OSError, size_bytes: int) -> NoSpace | BackendFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(size_bytes, 0)
    return BackendFailed(f"the spool cannot be written: {error.strerror}")
