"""Pack files: their names, the open ones, and the log that grows."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Final

from nearframe.storage.packs.files import Files, StoredFile
from nearframe.storage.packs.record import FILE_HEADER_BYTES, RecordHeader, Role, encode_file_header
from nearframe.storage.ports import Buffer

_SUFFIX: Final = ".seg"
#: A pack being written aside; it counts once it is renamed.
_UNPUBLISHED: Final = ".new"

#: Open pack files kept for readers: 64 of 128 MiB are 8 GiB of recent studies.
_KEPT_OPEN: Final = 64


class Segments:
    """The pack files of a store, by number. Usable from several threads."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._open: dict[int, StoredFile] = {}

    def numbers(self) -> list[int]:
        """Return the numbers of the packs there are, in order."""
        names = (name.removesuffix(_SUFFIX) for name in self._files.names() if name.endswith(_SUFFIX))
        return sorted(int(name) for name in names if name.isdigit())

    def discard_unpublished(self) -> None:
        """Remove what a crash left half written."""
        for name in self._files.names():
            if name.endswith(_UNPUBLISHED):
                self._files.remove(name)

    def reader(self, number: int) -> StoredFile:
        """Return a pack's file for reading; FileNotFoundError if it is gone."""
        file = self._open.get(number)
        if file is None:
            file = self._files.open(pack_name(number))
            with self._lock:
                if len(self._open) >= _KEPT_OPEN:
                    del self._open[next(iter(self._open))]
                self._open[number] = file
        return file

    def create_log(self, number: int) -> LogSegment:
        """Start a log; the file is durable on return."""
        file = self._files.create(pack_name(number))
        try:
            file.write_at(0, [encode_file_header(Role.LOG, number)])
            file.sync()
            self._files.sync()
        except OSError:
            with contextlib.suppress(OSError):
                self._files.remove(pack_name(number))
            raise
        return LogSegment(number, file, FILE_HEADER_BYTES)

    def reopen_log(self, number: int, length: int, torn: Sequence[tuple[int, RecordHeader]]) -> LogSegment:
        """Continue a log as far as `length`: void the torn records there, cut off the rest, sync."""
        file = self._files.open(pack_name(number), writable=True)
        for offset, header in torn:
            file.write_at(offset, [header.voided().encode()])
        if file.size() > length:
            file.truncate(length)
        file.sync()
        return LogSegment(number, file, length)

    def draft(self, number: int) -> DraftSegment:
        """Start a pack that readers and recovery do not see before it is published."""
        name = f"{number:08d}{_UNPUBLISHED}"
        return DraftSegment(number, self._files, name, self._files.create(name))

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove packs, durably. Readers that hold one read on."""
        for number in numbers:
            with contextlib.suppress(FileNotFoundError):
                self._files.remove(pack_name(number))
            with self._lock:
                self._open.pop(number, None)
        self._files.sync()

    def free_bytes(self) -> int:
        return self._files.free_bytes()


class LogSegment:
    """The pack that records are appended to. Not thread-safe but for `sync`.

    Attributes
    ----------
    length
        Where the next record goes.
    synced_length
        How far the file is known to be durable.
    """

    def __init__(self, number: int, file: StoredFile, length: int) -> None:
        self.number = number
        self.length = self.synced_length = length
        self._file = file
        self._has_rest = False  # bytes of a write that failed may stand beyond `length`

    def has_room(self, length: int, limit: int) -> bool:
        """True if a record fits below `limit`; an empty log has room for any."""
        return self.length == FILE_HEADER_BYTES or self.length + length <= limit

    def append(self, buffers: Sequence[Buffer]) -> int:
        """Write a record and return its offset.

        After an OSError the log is as before; what was left behind is cut off, at the latest
        before the next record or sync.
        """
        self.cut_rest()
        try:
            self._file.write_at(self.length, buffers)
        except OSError:
            self._has_rest = True
            with contextlib.suppress(OSError):
                self.cut_rest()
            raise
        offset = self.length
        self.length = offset + sum(map(len, buffers))
        return offset

    def cut_rest(self) -> None:
        """Cut off what a failed write left behind, so that no later reader takes it for a record."""
        if self._has_rest:
            self._file.truncate(self.length)
            self._has_rest = False

    def sync(self) -> None:
        """Make what was appended before the call durable; may run beside `append`."""
        length = self.length
        self._file.sync()
        self.synced_length = max(self.synced_length, length)

    def abandon(self) -> None:
        """Cut off, durably, what is not known to be durable."""
        self._file.truncate(self.synced_length)
        self._file.sync()


class DraftSegment:
    """A pack written aside by one thread: whole and durable once published, or never there.

    Attributes
    ----------
    length
        Where the next record goes.
    """

    def __init__(self, number: int, files: Files, name: str, file: StoredFile) -> None:
        self.number = number
        self.length = FILE_HEADER_BYTES
        self._files = files
        self._name = name
        self._file = file
        self._published = False

    def append(self, buffers: Sequence[Buffer]) -> int:
        """Write bytes and return where they start."""
        offset = self.length
        self._file.write_at(offset, buffers)
        self.length = offset + sum(map(len, buffers))
        return offset

    def rewrite(self, offset: int, data: bytes) -> None:
        """Write over what was appended."""
        self._file.write_at(offset, [data])

    def sync(self) -> None:
        """Write out what there is, so that `publish` is quick."""
        self._file.sync()

    def publish(self) -> None:
        """Make the pack visible to recovery, whole and durable."""
        self._file.write_at(0, [encode_file_header(Role.WHOLE, self.number)])
        self._file.sync()
        self._files.rename(self._name, pack_name(self.number))
        self._files.sync()
        self._published = True

    def discard(self) -> None:
        """Remove the file under either name, unless it was published."""
        if not self._published:
            for name in (self._name, pack_name(self.number)):
                with contextlib.suppress(OSError):
                    self._files.remove(name)


def pack_name(number: int) -> str:
    """Return the name of a pack's file."""
    return f"{number:08d}{_SUFFIX}"
