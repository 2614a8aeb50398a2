"""Packs and key ring of a home as they stand, read beside the process that owns them.

What was synced of a pack never changes again, and no pack goes while this is open. So whoever
knows how long a pack was, and how it ended there, copies only what has come since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from nearframe.errors import Busy, ConfigurationError, IntegrityError
from nearframe.ids import Digest, sha256
from nearframe.storage.packs.files import LocalFiles, ReadableFile, StoredFile, disk_errors
from nearframe.storage.packs.keyring import read_ring
from nearframe.storage.packs.locks import keeping_packs
from nearframe.storage.packs.record import FILE_HEADER_BYTES, Role, decode_file_header
from nearframe.storage.packs.scan import read_records
from nearframe.storage.packs.segments import Segments

#: A pack is known again by how it ended: record headers hold random nonces, and one is never farther away than
#: the content behind it, of which at least the tag is random too.
TAIL_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class StandingPack:
    """A pack as far as it is whole and durable.

    Attributes
    ----------
    number
        Its name in the store.
    length
        Bytes from its start to the end of its last record.
    open
        Gives the file of a number: an archive has more packs than a process may hold open.
    """

    number: int
    length: int
    open: Callable[[int], ReadableFile]

    def tail_at(self, length: int) -> Digest:
        """Return the digest of what stands before `length`: a pack that ends so is the same as far as there."""
        return sha256(self.read(max(length - TAIL_BYTES, 0), length))

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes of the pack.

        Raises
        ------
        IntegrityError
            If there are fewer.
        """
        data = bytearray(stop - start)
        with disk_errors():
            done = self.open(self.number).read_into(start, memoryview(data))
        if done != len(data):
            raise IntegrityError("a pack is shorter than it was")
        return bytes(data)


class StandingPacks:
    """The packs of a home, for as long as the block lasts.

    Raises
    ------
    ConfigurationError
        If there is no store.
    """

    def __init__(self, home: Path) -> None:
        if not (home / "packs").is_dir() or not (home / "keys").is_dir():
            raise ConfigurationError(f"--home {home}: no store is there")
        self._segments = Segments(LocalFiles(home / "packs"))
        self._keys = LocalFiles(home / "keys")
        self._home = home
        self._held = ExitStack()

    def __enter__(self) -> Self:
        self._held.enter_context(keeping_packs(self._home))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def packs(self) -> Iterator[StandingPack]:
        """Yield the packs there are now, in order, each one durable as far as it is said to reach.

        Raises
        ------
        Busy
            If one went: a node that starts finishes what a crash interrupted.
        """
        numbers = self._segments.numbers()
        newest_log = next((number for number in reversed(numbers) if self._is_log(number)), None)
        for number in numbers:
            file = self._open(number)
            with disk_errors():
                size = file.size()
                if number == newest_log:
                    # A record that is being written is left for the next time.
                    size = _end_of_records(file, size)
                    file.sync()
            if size > FILE_HEADER_BYTES:
                yield StandingPack(number, size, self._open)

    def ring(self) -> bytes:
        """Return the key ring: it has the keys of every record in the packs that were listed before."""
        with disk_errors():
            return read_ring(self._keys)

    def _is_log(self, number: int) -> bool:
        data = bytearray(FILE_HEADER_BYTES)
        with disk_errors():
            done = self._open(number).read_into(0, memoryview(data))
        try:
            return decode_file_header(bytes(data[:done]))[0] is Role.LOG
        except IntegrityError:
            return False

    def _open(self, number: int) -> StoredFile:
        try:
            return self._segments.reader(number)
        except FileNotFoundError as error:
            raise Busy("a pack went while the packs were listed: its node was just started; try again") from error


def _end_of_records(file: ReadableFile, size: int) -> int:
    end = FILE_HEADER_BYTES
    for offset, header in read_records(file, FILE_HEADER_BYTES, size):
        end = offset + header.length
    return end
