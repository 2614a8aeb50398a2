"""A disk in memory that loses what was not synced, for drills and tests.

`kill -9` cannot show a missing fsync, since the page cache survives it; this can. What a
power cut leaves of unsynced writes is drawn at random: any subset of the pages written, any
prefix of the directory's changes. A failed fdatasync behaves as Linux does: readers go on
seeing the bytes, the next fdatasync succeeds, and the disk never gets them.
"""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Final

from nearframe.storage.packs.files import StoredFile
from nearframe.storage.ports import Buffer

_PAGE: Final = 512  # smaller than a real page: tears records that a real one would not


class PowerCutError(Exception):
    """The machine went off: nothing works before `FaultyDisk.restart`."""


class When(Enum):
    """When a fault strikes, seen from the operation's effect."""

    BEFORE = "before"
    AFTER = "after"
    #: A write puts half of its bytes down first.
    HALFWAY = "halfway"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at one operation.

    Attributes
    ----------
    operation
        Zero-based number of the operation, in the order the disk sees them.
    error
        The errno raised, or None for a power cut.
    """

    operation: int
    when: When = When.BEFORE
    error: int | None = None


@dataclass(slots=True)
class _Inode:
    """A file's bytes: as readers see them, and as the platter has them."""

    seen: bytearray = field(default_factory=bytearray)
    kept: bytearray = field(default_factory=bytearray)
    #: Changes that no sync has made durable yet: a write (offset, bytes), or a new size.
    unsynced: list[tuple[int, bytes] | int] = field(default_factory=list)

    def apply(self, change: tuple[int, bytes] | int) -> None:
        _change(self.seen, change)
        self.unsynced.append(change)


class FaultyDisk:
    """Directories of files in memory, whose operations are numbered and can fail.

    Attributes
    ----------
    operations
        Names of the operations done so far, in order.
    capacity_bytes
        Bytes that all files may have together, or None for no limit.
    """

    def __init__(self, seed: int = 0) -> None:
        self.operations: list[str] = []
        self.faults: dict[int, Fault] = {}
        self.capacity_bytes: int | None = None
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._off = False
        self._directories: dict[str, FaultyFiles] = {}

    def directory(self, name: str) -> FaultyFiles:
        """Return a directory, made if need be."""
        return self._directories.setdefault(name, FaultyFiles(self))

    def strike(self, fault: Fault) -> None:
        """Have an operation fail."""
        self.faults[fault.operation] = fault

    def cut_power(self) -> None:
        """Switch the machine off."""
        self._off = True

    def restart(self) -> None:
        """Switch the machine on again, with what the platter kept."""
        for directory in self._directories.values():
            directory.lose_unsynced(self._random)
        self.faults.clear()
        self._off = False

    @property
    def used_bytes(self) -> int:
        return sum(len(inode.seen) for one in self._directories.values() for inode in one.entries.values())

    # -- for the files ---------------------------------------------------------------------

    def run(self, name: str, effect: Callable[[], None], halfway: Callable[[], None] | None = None) -> None:
        """Do one numbered operation, unless a fault says otherwise."""
        with self._lock:
            self.check_power()
            fault = self.faults.pop(len(self.operations), None)
            self.operations.append(name)
            if fault is None or fault.when is When.AFTER:
                effect()
            elif fault.when is When.HALFWAY and halfway is not None:
                halfway()
            if fault is not None:
                self._strike(fault)

    def check_power(self) -> None:
        if self._off:
            raise PowerCutError

    def free_bytes(self) -> int:
        return 1 << 40 if self.capacity_bytes is None else max(self.capacity_bytes - self.used_bytes, 0)

    def _strike(self, fault: Fault) -> None:
        if fault.error is None:
            self._off = True
            raise PowerCutError
        raise OSError(fault.error, errno.errorcode[fault.error])


class FaultyFiles:
    """One directory of a `FaultyDisk`: a `Files`."""

    def __init__(self, disk: FaultyDisk) -> None:
        self.entries: dict[str, _Inode] = {}
        self._disk = disk
        self._kept_entries: dict[str, _Inode] = {}
        #: Directory as it was after each change that no sync has made durable yet.
        self._unsynced: list[dict[str, _Inode]] = []

    def names(self) -> list[str]:
        self._disk.check_power()
        return sorted(self.entries)

    def create(self, name: str) -> StoredFile:
        if name in self.entries:
            raise FileExistsError(errno.EEXIST, "EEXIST")
        inode = _Inode()
        self._disk.run(f"create {name}", lambda: self._set({**self.entries, name: inode}))
        return _FaultyFile(self._disk, name, inode)

    def open(self, name: str, *, writable: bool = False) -> StoredFile:
        self._disk.check_power()
        if name not in self.entries:
            raise FileNotFoundError(errno.ENOENT, "ENOENT")
        return _FaultyFile(self._disk, name, self.entries[name])

    def rename(self, old: str, new: str) -> None:
        changed = {name: inode for name, inode in self.entries.items() if name != old}
        changed[new] = self.entries[old]
        self._disk.run(f"rename {new}", lambda: self._set(changed))

    def remove(self, name: str) -> None:
        if name not in self.entries:
            raise FileNotFoundError(errno.ENOENT, "ENOENT")
        changed = {other: inode for other, inode in self.entries.items() if other != name}
        self._disk.run(f"remove {name}", lambda: self._set(changed))

    def sync(self) -> None:
        self._disk.run("sync directory", self._keep)

    def free_bytes(self) -> int:
        return self._disk.free_bytes()

    def flip_bit(self, name: str, offset: int, bit: int = 0) -> None:
        """Damage a byte, in the cache and on the platter."""
        inode = self.entries[name]
        for data in (inode.seen, inode.kept):
            if offset < len(data):
                data[offset] ^= 1 << bit

    def lose_unsynced(self, draw: random.Random) -> None:
        """Keep what a power cut leaves: see the module's text."""
        histories = [self._kept_entries, *self._unsynced]
        self._kept_entries = self.entries = dict(histories[draw.randrange(len(histories))])
        self._unsynced = []
        for inode in self.entries.values():
            for change in inode.unsynced:
                for part in _pages(change):
                    if draw.random() < 0.5:
                        _change(inode.kept, part)
            inode.unsynced = []
            inode.seen = bytearray(inode.kept)

    def _set(self, entries: dict[str, _Inode]) -> None:
        self.entries = entries
        self._unsynced.append(entries)

    def _keep(self) -> None:
        self._kept_entries, self._unsynced = self.entries, []


class _FaultyFile:
    """An open file of a `FaultyFiles`: a `StoredFile`."""

    def __init__(self, disk: FaultyDisk, name: str, inode: _Inode) -> None:
        self._disk = disk
        self._name = name
        self._inode = inode

    def size(self) -> int:
        self._disk.check_power()
        return len(self._inode.seen)

    def write_at(self, offset: int, buffers: Sequence[Buffer]) -> None:
        data = b"".join(buffers)
        growth = max(offset + len(data) - len(self._inode.seen), 0)
        halves = (
            lambda: self._inode.apply((offset, data)),
            lambda: self._inode.apply((offset, data[: len(data) // 2])),
        )
        if growth > self._disk.free_bytes():
            self._disk.run(f"write {self._name}", halves[1])
            raise OSError(errno.ENOSPC, "ENOSPC")
        self._disk.run(f"write {self._name}", *halves)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self._disk.check_power()
        data = self._inode.seen[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        return len(data)

    def read_into_nowait(self, offset: int, buffer: memoryview) -> bool:
        return self.read_into(offset, buffer) == len(buffer)

    def truncate(self, size: int) -> None:
        self._disk.run(f"truncate {self._name}", lambda: self._inode.apply(size))

    def sync(self) -> None:
        try:
            self._disk.run(f"sync {self._name}", self._keep)
        except OSError:
            self._inode.unsynced = []  # the kernel tells once, and believes the pages clean
            raise

    def _keep(self) -> None:
        for change in self._inode.unsynced:
            _change(self._inode.kept, change)
        self._inode.unsynced = []


def _change(data: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        del data[change:]
        data.extend(bytes(change - len(data)))
        return
    offset, written = change
    data.extend(bytes(max(offset - len(data), 0)))
    data[offset : offset + len(written)] = written


def _pages(change: tuple[int, bytes] | int) -> list[tuple[int, bytes] | int]:
    """Cut a write at page boundaries: each page reaches the platter, or not."""
    if isinstance(change, int):
        return [change]
    offset, data = change
    cuts = [0, *range(_PAGE - offset % _PAGE, len(data), _PAGE), len(data)]
    return [(offset + start, data[start:stop]) for start, stop in pairwise(cuts)]
