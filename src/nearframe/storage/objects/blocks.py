"""What was read of objects lately, in blocks in one file of the local disk: the cache before the bucket.

Sealed as it is in the bucket, so that the disk learns nothing; and proved like anything else that
is read, so that a block gone bad costs another request. The file has no name: it ends with its process.
"""

from __future__ import annotations

import errno
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from nearframe.log import logger
from nearframe.storage.packs.files import LocalFile
from nearframe.storage.scratch import open_unlinked
from nearframe.units import MIB

#: Neighbours come with what is asked for: a request costs as much as its first half megabyte.
BLOCK_BYTES: Final = MIB

_log = logger(__name__)


class BlockKey(NamedTuple):
    """A block: which object, and the how manieth of it."""

    object_id: int
    number: int


class _Slot(NamedTuple):
    place: int
    length: int


class BlockCache:
    """Blocks of objects, least recently used out first. Usable from several threads.

    Parameters
    ----------
    capacity_bytes
        Of the file; less than one block keeps nothing.
    """

    def __init__(self, folder: Path, capacity_bytes: int) -> None:
        self._lock = threading.Lock()
        self._slots: OrderedDict[BlockKey, _Slot] = OrderedDict()
        self._free = list(range(capacity_bytes // BLOCK_BYTES))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = LocalFile(open_unlinked(folder))
        self.hits = 0

    def __len__(self) -> int:
        return len(self._slots)

    def has(self, key: BlockKey) -> bool:
        """Return whether a block is here, without using it."""
        return key in self._slots

    def read_into(self, key: BlockKey, start: int, buffer: memoryview, *, waits: bool = True) -> int | None:
        """Fill `buffer` from `start` of a block as far as that goes; return how far, or None if it is not here.

        Parameters
        ----------
        waits
            False: only if the page cache has it.
        """
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                return None
            self._slots.move_to_end(key)
        wanted = buffer[: max(slot.length - start, 0)]
        at = slot.place * BLOCK_BYTES + start
        try:
            done = self._file.read_into(at, wanted) if waits else self._file.read_into_nowait(at, wanted)
        except OSError:
            return None  # the bucket has it
        with self._lock:
            # A slot gets another block only after this one has left the table.
            if self._slots.get(key) != slot or (done is not True and done != len(wanted)):
                return None
            self.hits += 1
        return len(wanted)

    def put(self, key: BlockKey, data: bytes | memoryview) -> None:
        """Keep a block."""
        with self._lock:
            if key in self._slots or not (self._free or self._slots):
                return
            place = self._free.pop() if self._free else self._slots.popitem(last=False)[1].place
        try:
            self._file.write_at(place * BLOCK_BYTES, [data])
        except OSError as error:
            _log.warning("object_cache_not_written", error=error)
            with self._lock:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    self._free.append(place)  # a full disk: this much less is kept from now on
            return
        with self._lock:
            if key in self._slots:
                self._free.append(place)
            else:
                self._slots[key] = _Slot(place, len(data))

    def discard(self, key: BlockKey) -> None:
        """Forget a block."""
        with self._lock, suppress(KeyError):
            self._free.append(self._slots.pop(key).place)
