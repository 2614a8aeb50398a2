"""The writing side: records gather in objects, which are uploaded, then entered in the index, then acknowledged.

What is durable when, and what a failure leaves::

    append   record in memory. An object that is full is uploaded by a thread; few are under way at a time,
             and who appends more waits
    sync     what is left is uploaded as one more object, however small. When every upload has ended, all
             of it is entered in the index by one transaction, shared by every caller waiting
    answer   only now: object and index outlast this machine

Whoever waits shares objects and transaction with everybody else who does, and while they wait the
next ones gather: so the busier the senders, the fewer requests an instance takes.

If an upload or the transaction fails, all that was not acknowledged is forgotten, and every caller
whose `mark` is older is told to send again. Objects that were uploaded in vain are swept up (`sweeping`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from nearframe.clock import Clock
from nearframe.errors import BackendFailed, Busy, DatabaseAway, NearframeError, NoSpace, StorageError
from nearframe.log import logger
from nearframe.storage.objects.index import StoredObject
from nearframe.storage.objects.reading import ObjectReader, object_name
from nearframe.storage.objects.recording import NewContent, NewObject, Reference, new_object_id
from nearframe.storage.packs.groupcommit import GroupCommit
from nearframe.storage.packs.record import FILE_HEADER_BYTES, RecordHeader, Role, encode_file_header
from nearframe.storage.s3 import Bucket
from nearframe.units import MIB

#: Objects under way at the same time: enough to fill a line, and what memory they take is bounded.
UPLOADS: Final = 4
#: A part of a large object: S3 takes 10,000 of them, which makes 80 GiB.
_PART_BYTES: Final = 8 * MIB

_log = logger(__name__)


class Recorder(Protocol):
    """Enters what was uploaded in the index; durable on return."""

    def __call__(self, objects: Sequence[NewObject], references: Sequence[Reference]) -> None: ...


@dataclass(slots=True)
class Pending:
    """A content that is not durable yet, and what this node may do with it all the same.

    Attributes
    ----------
    record
        Its bytes in parts; none for a content in an object of its own, which is read from there.
    holders
        Key ids of the studies that hold it.
    """

    header: RecordHeader
    content_key: bytes
    record: Sequence[bytes]
    where: StoredObject | None
    holders: set[bytes]


@dataclass(slots=True)
class _Gathering:
    """An object that takes records."""

    id: int
    buffers: list[bytes] = field(default_factory=list)
    length: int = FILE_HEADER_BYTES
    contents: list[NewContent] = field(default_factory=list)


class Writer:
    """Gathers, uploads and enters. `lock` guards what is pending.

    Parameters
    ----------
    object_bytes
        At which an object is full.
    """

    def __init__(
        self, bucket: Bucket, reader: ObjectReader, recorder: Recorder, clock: Clock, *, object_bytes: int
    ) -> None:
        self.lock = threading.RLock()
        self.sync_failures = 0
        self.pending: dict[bytes, Pending] = {}
        self._bucket = bucket
        self._reader = reader
        self._record = recorder
        self._clock = clock
        self._object_bytes = object_bytes
        self._gathering: _Gathering | None = None
        self._uploading: list[Future[NewObject]] = []
        self._references: dict[tuple[bytes, bytes], Reference] = {}
        self._sequence = 0
        self._failure: NearframeError | None = None
        self._group = GroupCommit(self._commit)
        self._room = threading.Semaphore(UPLOADS + 2)
        self._uploads = ThreadPoolExecutor(UPLOADS, thread_name_prefix="object-upload")

    def close(self) -> None:
        """Let what is under way end. What nobody asked to sync is not kept."""
        self._uploads.shutdown()

    def mark(self) -> int:
        """Return a value for `sync`, to be taken before the first append of a batch."""
        return self.sync_failures

    def sync(self, since: int) -> None:
        """Make every earlier append durable.

        Raises
        ------
        Busy, NoSpace, BackendFailed
            If anything failed since the mark was taken: nothing of the batch may be acknowledged.
        """
        with self.lock:
            sequence = self._sequence
        self._group.settle(sequence)
        if self.sync_failures != since:
            raise _again(self._failure)

    def add(self, new: NewContent, content_key: bytes, body: Sequence[bytes]) -> None:
        """Append a content; waits while too many objects are on their way."""
        with self.lock:
            full = self._is_full_for(new)
        if full:
            self._room.acquire()
        with self.lock:
            gathering = self._gathering
            if gathering is not None and self._is_full_for(new):
                self._send(gathering, has_room=full)
            elif full:
                self._room.release()  # another writer or a sync sent it
            self._append(new, content_key, (new.header.encode(), *body))

    def add_apart(self, new: NewContent, content_key: bytes, sealed: Iterator[bytes]) -> None:
        """Upload a large content, in parts, as an object of its own."""
        object_id = new_object_id(self._clock)
        head = encode_file_header(Role.WHOLE, 0) + new.header.encode()
        version = self._bucket.put_parts(object_name(object_id), in_parts(head, sealed))
        length = FILE_HEADER_BYTES + new.header.length
        uploaded: Future[NewObject] = Future()
        uploaded.set_result(NewObject(object_id, version, length, [new._replace(offset=FILE_HEADER_BYTES)]))
        with self.lock:
            self._sequence += 1
            self._uploading.append(uploaded)
            where = StoredObject(object_id, version, length)
            self._set_pending(new, content_key, (), where)

    def refer(self, reference: Reference) -> None:
        """Have a study hold a content that is there; the lock is held."""
        self._sequence += 1
        self._references[reference.content_id, reference.wrap.study_key_id] = reference
        pending = self.pending.get(reference.content_id)
        if pending is not None:
            pending.holders.add(reference.wrap.study_key_id)

    def reference(self, content_id: bytes, study_key_id: bytes) -> Reference | None:
        """Return a reference that is not durable yet; the lock is held."""
        return self._references.get((content_id, study_key_id))

    def settle(self) -> None:
        """Make durable what can be made durable of everything before; who waits for it is told of a failure."""
        with suppress(StorageError):
            self.sync(self.mark())

    # -- the lock is held ------------------------------------------------------------------

    def _is_full_for(self, new: NewContent) -> bool:
        return self._gathering is not None and self._gathering.length + new.header.length > self._object_bytes

    def _append(self, new: NewContent, content_key: bytes, record: Sequence[bytes]) -> None:
        gathering = self._gathering
        if gathering is None:
            gathering = self._gathering = _Gathering(new_object_id(self._clock))
        gathering.contents.append(new._replace(offset=gathering.length))
        gathering.buffers += record
        gathering.length += new.header.length
        self._sequence += 1
        self._set_pending(new, content_key, record, None)

    def _set_pending(
        self, new: NewContent, content_key: bytes, record: Sequence[bytes], where: StoredObject | None
    ) -> None:
        self.pending[new.header.content_id] = Pending(new.header, content_key, record, where, {new.keys.key_id})

    def _send(self, gathering: _Gathering, *, has_room: bool) -> None:
        self._gathering = None
        self._uploading.append(self._uploads.submit(self._upload, gathering, has_room))

    # -- in threads of the pool ------------------------------------------------------------

    def _upload(self, gathering: _Gathering, has_room: bool) -> NewObject:
        try:
            # A number in its header would say nothing: the name has all 64 bits of it.
            data = b"".join((encode_file_header(Role.WHOLE, 0), *gathering.buffers))
            version = self._bucket.put(object_name(gathering.id), data)
            self._reader.keep(gathering.id, data)
            return NewObject(gathering.id, version, gathering.length, gathering.contents)
        finally:
            if has_room:
                self._room.release()

    # -- group commit ----------------------------------------------------------------------

    def _commit(self) -> int:
        with self.lock:
            if self._gathering is not None:
                self._send(self._gathering, has_room=False)
            sequence, failures = self._sequence, self.sync_failures
            uploading, self._uploading = self._uploading, []
            references = dict(self._references)
        try:
            objects = [future.result() for future in uploading]
            if objects or references:
                self._record(objects, list(references.values()))
        except Exception as error:  # noqa: BLE001 - every caller gets it as its answer
            self._lose(error)
            return sequence
        with self.lock:
            if self.sync_failures == failures:
                for one in objects:
                    for new in one.contents:
                        self.pending.pop(new.header.content_id, None)
                for key in references:
                    self._references.pop(key, None)
        return sequence

    def _lose(self, error: Exception) -> None:
        """Forget everything that is not durable: what came later may refer to what failed."""
        with self.lock:
            self.sync_failures += 1
            self._failure = error if isinstance(error, NearframeError) else None
            self.pending.clear()
            self._gathering = None
            self._uploading.clear()
            self._references.clear()
        _log.error("object_sync_failed", error=error)


def in_parts(head: bytes, sealed: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what a large object consists of in parts of the size that uploads have."""
    part = bytearray(head)
    for chunk in sealed:
        part += chunk
        while len(part) >= _PART_BYTES:
            yield bytes(part[:_PART_BYTES])
            del part[:_PART_BYTES]
    if part:
        yield bytes(part)


def _again(failure: NearframeError | None) -> NearframeError:
    """Return what a caller is told whose contents are not kept."""
    words = "the object store did not keep what was sent, nothing of it is stored; send it again"
    if isinstance(failure, NoSpace):
        return NoSpace(failure.needed_bytes, failure.free_bytes)
    return Busy(words) if isinstance(failure, Busy | DatabaseAway) else BackendFailed(words)
