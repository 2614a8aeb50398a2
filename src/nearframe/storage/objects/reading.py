"""Reading objects in blocks: one request for neighbours, one for everybody who wants the same."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from nearframe.errors import IntegrityError
from nearframe.storage.objects.blocks import BLOCK_BYTES, BlockCache, BlockKey
from nearframe.storage.objects.index import StoredObject
from nearframe.storage.s3 import Bucket

#: Blocks of one request at most: bounds memory, and a reader's wait for its first byte.
_MAX_RUN: Final = 8
#: Blocks that come besides when a reader goes on where the last one stopped, as viewers do through a series.
_AHEAD: Final = 3


#: What the names of our objects begin with.
FOLDER: Final = "packs/"
_NAME: Final = re.compile(FOLDER + "([0-9a-f]{16})")


def object_name(object_id: int) -> str:
    """Return the name of an object in the bucket."""
    return f"{FOLDER}{object_id:016x}"


def object_id_of(name: str) -> int | None:
    """Return the id of an object by its name; None if it is none of ours."""
    found = _NAME.fullmatch(name)
    return None if found is None else int(found[1], 16)


class ObjectReader:
    """Reads objects by way of a cache of blocks. Usable from several threads."""

    def __init__(self, bucket: Bucket, cache: BlockCache) -> None:
        self._bucket = bucket
        self._cache = cache
        self._lock = threading.Lock()
        self._flights: dict[BlockKey, Future[bytes]] = {}

    def open(self, where: StoredObject) -> ObjectFile:
        """Return an object as a file."""
        return ObjectFile(self, self._cache, where)

    def keep(self, object_id: int, data: bytes) -> None:
        """Put an object into the cache that was just written: what is new is read next."""
        view = memoryview(data)
        for number in range(-(-len(data) // BLOCK_BYTES)):
            self._cache.put(BlockKey(object_id, number), view[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES])

    def forget(self, object_id: int, start: int, stop: int) -> None:
        """Drop what the cache has of some bytes of an object: they are not what was sealed."""
        for number in range(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)):
            self._cache.discard(BlockKey(object_id, number))

    def blocks(self, where: StoredObject, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return blocks of an object that the cache lacks; contiguous ones come by one request.

        Raises
        ------
        NotFound
            If there is no such object any more.
        """
        with self._lock:
            theirs = {n: flight for n in numbers if (flight := self._flights.get(BlockKey(where.id, n))) is not None}
            wanted = self._with_ahead(where, [number for number in numbers if number not in theirs])
            ours: dict[int, Future[bytes]] = {number: Future() for number in wanted}
            self._flights |= {BlockKey(where.id, number): flight for number, flight in ours.items()}
        try:
            for run in _runs(wanted):
                self._fetch(where, run, ours)
        except BaseException as error:
            for flight in ours.values():
                if not flight.done():
                    flight.set_exception(error)
            raise
        finally:
            with self._lock:
                for number in ours:
                    del self._flights[BlockKey(where.id, number)]
        return {number: (ours.get(number) or theirs[number]).result() for number in numbers}

    def _with_ahead(self, where: StoredObject, missing: list[int]) -> list[int]:
        """Return blocks to fetch: those that are missing, and some more if they go on from what is held."""
        if not missing or missing[0] == 0 or not self._cache.has(BlockKey(where.id, missing[0] - 1)):
            return missing
        last = -(-where.length // BLOCK_BYTES) - 1
        further = range(missing[-1] + 1, min(missing[-1] + _AHEAD, last) + 1)
        lacking = (BlockKey(where.id, number) for number in further)
        return missing + [key.number for key in lacking if key not in self._flights and not self._cache.has(key)]

    def _fetch(self, where: StoredObject, run: Sequence[int], flights: dict[int, Future[bytes]]) -> None:
        start, stop = run[0] * BLOCK_BYTES, min((run[-1] + 1) * BLOCK_BYTES, where.length)
        data = self._bucket.get(object_name(where.id), start, stop, where.version)
        if len(data) != stop - start:
            raise IntegrityError("an object is shorter than it was when it was stored")
        for place, number in enumerate(run):
            block = data[place * BLOCK_BYTES : (place + 1) * BLOCK_BYTES]
            self._cache.put(BlockKey(where.id, number), block)
            flights[number].set_result(block)


class ObjectFile:
    """An object, read as packs are."""

    def __init__(self, reader: ObjectReader, cache: BlockCache, where: StoredObject) -> None:
        self._reader = reader
        self._cache = cache
        self._where = where

    def size(self) -> int:
        return self._where.length

    def read_into(self, offset: int, buffer: memoryview) -> int:
        buffer = buffer[: max(self._where.length - offset, 0)]
        missing = [piece[0] for piece in _pieces(offset, buffer) if not self._has(*piece, waits=True)]
        if missing:
            fetched = self._reader.blocks(self._where, missing)
            for number, start, part in _pieces(offset, buffer):
                if number in fetched:
                    part[:] = fetched[number][start : start + len(part)]
        return len(buffer)

    def read_into_nowait(self, offset: int, buffer: memoryview) -> bool:
        if offset + len(buffer) > self._where.length:
            return False
        return all(self._has(*piece, waits=False) for piece in _pieces(offset, buffer))

    def _has(self, number: int, start: int, part: memoryview, *, waits: bool) -> bool:
        return self._cache.read_into(BlockKey(self._where.id, number), start, part, waits=waits) == len(part)


class BytesFile:
    """Bytes in memory, in parts, read as packs are."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._data = memoryview(b"".join(parts))

    def size(self) -> int:
        return len(self._data)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        found = self._data[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        return len(found)

    def read_into_nowait(self, offset: int, buffer: memoryview) -> bool:
        return self.read_into(offset, buffer) == len(buffer)


def _pieces(offset: int, buffer: memoryview) -> list[tuple[int, int, memoryview]]:
    """Return blocks, where in them to start, and the parts of a buffer that they fill."""
    pieces = []
    at = 0
    while at < len(buffer):
        number, start = divmod(offset + at, BLOCK_BYTES)
        part = buffer[at : at + BLOCK_BYTES - start]
        pieces.append((number, start, part))
        at += len(part)
    return pieces


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Return numbers in runs without gaps, none too long for a request."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] + 1 == number and len(runs[-1]) < _MAX_RUN:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs
