"""The key ring in a file of fixed slots (`slots`).

A study's slot is synced before the first record that needs it; shredding overwrites the slot
in place with zeros and syncs, so the wrapped key is gone from the file, not only unlinked
from it (as far as the file system writes in place: ext4 and XFS do, copy-on-write file
systems do not).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, TypeVar

from nearframe.storage.packs.files import Files, StoredFile
from nearframe.storage.packs.keys import StudyKeys
from nearframe.storage.packs.slots import HANDLE_BYTES, SLOT_BYTES, RingKeys, Slot, SlotKind, Tenant
from nearframe.storage.ports import StudyRef

RING_FILE: Final = "ring"

#: Studies whose opened keys stay in memory: a morning's worth, about 2 KB each.
_CACHED_STUDIES = 4096

#: A slot is written in microseconds: one that still does not read is damaged, or was never finished.
_READ_AGAIN: Final = 100

_Name = TypeVar("_Name", StudyRef, bytes)


class SlotKeyRing:
    """The key ring in a file, under a root key held in memory.

    Parameters
    ----------
    files
        The directory of the ring.
    root_key
        32 bytes.

    Raises
    ------
    ConfigurationError
        If the ring was made under another root key.
    """

    def __init__(self, files: Files, root_key: bytes) -> None:
        self._lock = threading.Lock()
        self._root = RingKeys(root_key)
        self._tenants: dict[str, Tenant] = {}
        self._tenants_by_handle: dict[bytes, Tenant] = {}
        self._slots: dict[bytes, int] = {}  # handle of a study -> number of its slot
        self._free: list[int] = []
        self._unsettled: dict[int, bytes] = {}  # what slots must hold whose writing failed
        self._opened: dict[StudyRef, StudyKeys] = {}
        self._opened_by_id: dict[bytes, StudyKeys] = {}
        self._file = self._open_file(files)
        self._load()

    def find(self, study: StudyRef) -> StudyKeys | None:
        opened = self._opened.get(study)
        if opened is not None:
            return opened
        with self._lock:
            tenant = self._tenants.get(study.tenant)
            if tenant is None:
                return None
            return self._open_study(study, tenant)

    def knows(self, study: StudyRef) -> bool:
        with self._lock:
            tenant = self._tenants.get(study.tenant)
            return tenant is not None and tenant.handle_of(study) in self._slots

    def ensure(self, study: StudyRef) -> StudyKeys:
        opened = self._opened.get(study)
        if opened is not None:
            return opened
        with self._lock:
            tenant = self._tenants.get(study.tenant) or self._add_tenant(study.tenant)
            return self._open_study(study, tenant) or self._add_study(study, tenant)

    def by_id(self, key_id: bytes) -> StudyKeys | None:
        opened = self._opened_by_id.get(key_id)
        if opened is not None:
            return opened
        with self._lock:
            slot = self._slot_of(key_id)
            if slot is None:
                return None
            tenant = self._tenants_by_handle[slot.tenant]
            return _remember(self._opened_by_id, key_id, tenant.keys_of(slot))

    def study_of(self, key_id: bytes) -> StudyRef | None:
        with self._lock:
            slot = self._slot_of(key_id)
            if slot is None:
                return None
            return self._tenants_by_handle[slot.tenant].study_of(slot)

    def shred(self, study: StudyRef) -> bytes | None:
        with self._lock:
            self._settle()
            tenant = self._tenants.get(study.tenant)
            handle = tenant and tenant.handle_of(study)
            number = self._slots.get(handle) if handle else None
            slot = None if number is None else self._read(number)
            if slot is None or number is None:
                return None
            # If it is not known to be gone it stays, so that the caller may shred again.
            self._write(number, bytes(SLOT_BYTES), otherwise=slot.encode())
            del self._slots[slot.handle]
            self._free.append(number)
            self._opened.pop(study, None)
            self._opened_by_id.pop(slot.key_id, None)
            return slot.key_id

    def settle(self) -> None:
        with self._lock:
            self._settle()

    # -- slots; the lock is held -----------------------------------------------------------

    @staticmethod
    def _open_file(files: Files) -> StoredFile:
        if RING_FILE in files.names():
            return files.open(RING_FILE, writable=True)
        created = files.create(RING_FILE)
        created.sync()
        files.sync()
        return created

    def _load(self) -> None:
        count = -(-self._file.size() // SLOT_BYTES)  # a slot cut short by a crash is a free one
        studies: list[tuple[int, Slot]] = []
        for number, slot in enumerate(self._read_all(count)):
            if slot is None:
                self._free.append(number)
            elif slot.kind == SlotKind.TENANT:
                self._remember_tenant(slot)
            else:
                studies.append((number, slot))
        self._next = count
        self._slots = {slot.handle: number for number, slot in studies if slot.tenant in self._tenants_by_handle}

    def _remember_tenant(self, slot: Slot) -> None:
        tenant = self._root.tenant_of(slot)
        self._tenants[tenant.name] = self._tenants_by_handle[slot.handle] = tenant

    def _add_tenant(self, name: str) -> Tenant:
        slot, tenant = self._root.new_tenant(name)
        self._append(slot)
        self._tenants[name] = self._tenants_by_handle[slot.handle] = tenant
        return tenant

    def _add_study(self, study: StudyRef, tenant: Tenant) -> StudyKeys:
        slot, keys = tenant.new_study(study)
        self._slots[slot.handle] = self._append(slot)
        return self._remember_study(study, keys)

    def _open_study(self, study: StudyRef, tenant: Tenant) -> StudyKeys | None:
        number = self._slots.get(tenant.handle_of(study))
        slot = None if number is None else self._read(number)
        if slot is None:
            return None
        return self._remember_study(study, tenant.keys_of(slot))

    def _remember_study(self, study: StudyRef, keys: StudyKeys) -> StudyKeys:
        _remember(self._opened, study, keys)
        return _remember(self._opened_by_id, keys.key_id, keys)

    def _slot_of(self, key_id: bytes) -> Slot | None:
        number = self._slots.get(key_id[:HANDLE_BYTES])
        slot = None if number is None else self._read(number)
        return slot if slot is not None and slot.key_id == key_id else None

    def _append(self, slot: Slot) -> int:
        number = self._free[-1] if self._free else self._next
        self._write(number, slot.encode(), otherwise=bytes(SLOT_BYTES))
        if self._free:
            self._free.pop()
        else:
            self._next += 1
        return number

    def _read(self, number: int) -> Slot | None:
        data = bytearray(SLOT_BYTES)
        self._file.read_into(number * SLOT_BYTES, memoryview(data))
        return Slot.decode(bytes(data))

    def _read_all(self, count: int) -> Iterator[Slot | None]:
        block = bytearray(SLOT_BYTES * 4096)
        for first in range(0, count, 4096):
            done = self._file.read_into(first * SLOT_BYTES, memoryview(block))
            for at in range(0, done, SLOT_BYTES):
                yield Slot.decode(bytes(block[at : at + SLOT_BYTES]))

    def _write(self, number: int, data: bytes, otherwise: bytes) -> None:
        """Write a slot, durably; where that fails, the slot holds `otherwise`."""
        self._settle()
        try:
            self._file.write_at(number * SLOT_BYTES, [data])
            self._file.sync()
        except OSError:
            # After a failed fdatasync the page cache may say what the disk does not have, and a
            # restart would believe it. So the slot is written anew, now and before the next sync.
            self._unsettled[number] = otherwise
            with suppress(OSError):
                self._file.write_at(number * SLOT_BYTES, [otherwise])
            raise

    def _settle(self) -> None:
        if self._unsettled:
            for number, data in self._unsettled.items():
                self._file.write_at(number * SLOT_BYTES, [data])
            self._file.sync()
            self._unsettled.clear()


def read_ring(files: Files) -> bytes:
    """Return a key ring as it stands, read beside the process that owns it.

    Every slot is whole: one that is being written is read again.
    """
    file = files.open(RING_FILE)
    data = bytearray(file.size() // SLOT_BYTES * SLOT_BYTES)
    file.read_into(0, memoryview(data))
    for at in range(0, len(data), SLOT_BYTES):
        slot = memoryview(data)[at : at + SLOT_BYTES]
        for _ in range(_READ_AGAIN):
            if Slot.decode(bytes(slot)) is not None or not any(slot):
                break
            file.read_into(at, slot)
    return bytes(data)


def _remember(cache: dict[_Name, StudyKeys], name: _Name, keys: StudyKeys) -> StudyKeys:
    """Add to a cache of bounded size; the oldest leaves."""
    if len(cache) >= _CACHED_STUDIES:
        del cache[next(iter(cache))]
    cache[name] = keys
    return keys
