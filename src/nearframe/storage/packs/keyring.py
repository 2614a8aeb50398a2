"""The key ring in a file of fixed slots.

A study's slot is synced before the first record that needs it; shredding overwrites the slot
in place with zeros and syncs, so the wrapped key is gone from the file, not only unlinked
from it (as far as the file system writes in place: ext4 and XFS do, copy-on-write file
systems do not). Slot, 256 bytes, little endian::

      0  4s   "NFK\\x01": magic and version
      4  B    kind: 1 tenant, 2 study
      5  3x
      8  12s  handle: HMAC of the tenant's name or the study's UID
     20  4s   generation: random, so a study sent again after shredding gets another key id
     24  12s  handle of the tenant (zero for a tenant)
     36  12s  nonce
     48  204s sealed: key (32), label length (2), label (154), tag (16)
    252  I    CRC-32 of the above

The label is the tenant's name or the study's UID, so that damage can be reported by study;
an overlong one is left out. Key id = handle, generation.
"""

from __future__ import annotations

import hmac
import secrets
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.errors import ConfigurationError, IntegrityError
from nearframe.storage.packs.files import Files, StoredFile
from nearframe.storage.packs.keys import StudyKeys, derive
from nearframe.storage.ports import StudyRef

SLOT_BYTES: Final = 256
RING_FILE: Final = "ring"

_SLOT = struct.Struct("<4sB3x12s4s12s12s204sI")
_SLOT_MAGIC = b"NFK\x01"
_SEALED_BYTES = 204
_ASSOCIATED_BYTES = 36  # everything of the slot before the nonce
_LABEL_BYTES = _SEALED_BYTES - 16 - 32 - 2
_HANDLE_BYTES = 12
_TENANT, _STUDY = 1, 2
_NO_TENANT = bytes(_HANDLE_BYTES)

#: Studies whose opened keys stay in memory: a morning's worth, about 2 KB each.
_CACHED_STUDIES = 4096

#: A slot is written in microseconds: one that still does not read is damaged, or was never finished.
_READ_AGAIN: Final = 100

_Name = TypeVar("_Name", StudyRef, bytes)


@dataclass(frozen=True, slots=True)
class _Tenant:
    """A tenant's name and what its key gives."""

    name: str
    handle: bytes
    handle_key: bytes
    content_id_key: bytes
    slot_key: bytes

    @classmethod
    def of(cls, name: str, handle: bytes, key: bytes) -> _Tenant:
        return cls(name, handle, derive(key, "study handles"), derive(key, "content ids"), derive(key, "study keys"))


@dataclass(frozen=True, slots=True)
class _Slot:
    """One slot as stored."""

    kind: int
    handle: bytes
    generation: bytes
    tenant: bytes
    nonce: bytes
    sealed: bytes

    @property
    def key_id(self) -> bytes:
        return self.handle + self.generation

    @property
    def associated(self) -> bytes:
        return self._packed()[:_ASSOCIATED_BYTES]

    def _packed(self) -> bytes:
        return _SLOT.pack(
            _SLOT_MAGIC, self.kind, self.handle, self.generation, self.tenant, self.nonce, self.sealed, 0
        )[:-4]

    def encode(self) -> bytes:
        head = self._packed()
        return head + zlib.crc32(head).to_bytes(4, "little")

    @classmethod
    def decode(cls, data: bytes) -> _Slot | None:
        """Return the slot, or None if it is empty: never written whole, or shredded."""
        if len(data) != SLOT_BYTES:
            return None
        magic, kind, handle, generation, tenant, nonce, sealed, crc = _SLOT.unpack(data)
        if magic != _SLOT_MAGIC or crc != zlib.crc32(data[:-4]):
            return None
        return cls(kind, handle, generation, tenant, nonce, sealed)

    @classmethod
    def seal(cls, kind: int, handle: bytes, tenant: bytes, under: bytes, key: bytes, label: str) -> _Slot:
        nonce = secrets.token_bytes(12)
        empty = cls(kind, handle, secrets.token_bytes(4), tenant, nonce, b"")
        text = label.encode()
        if len(text) > _LABEL_BYTES:
            text = b""
        plain = key + len(text).to_bytes(2, "little") + text.ljust(_LABEL_BYTES, b"\0")
        sealed = AESGCM(under).encrypt(nonce, plain, empty.associated)
        return cls(kind, handle, empty.generation, tenant, nonce, sealed)

    def open(self, under: bytes) -> tuple[bytes, str]:
        """Return key and label.

        Raises
        ------
        IntegrityError
            If the slot does not open.
        """
        try:
            plain = AESGCM(under).decrypt(self.nonce, self.sealed, self.associated)
        except InvalidTag as error:
            raise IntegrityError("a slot of the key ring does not open under its key") from error
        length = int.from_bytes(plain[32:34], "little")
        return plain[:32], plain[34 : 34 + length].decode()


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
        self._tenant_handle_key = derive(root_key, "tenant handles")
        self._tenant_slot_key = derive(root_key, "tenant keys")
        self._tenants: dict[str, _Tenant] = {}
        self._tenants_by_handle: dict[bytes, _Tenant] = {}
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
            keys = StudyKeys(key_id, slot.open(tenant.slot_key)[0], tenant.content_id_key)
            return _remember(self._opened_by_id, key_id, keys)

    def study_of(self, key_id: bytes) -> StudyRef | None:
        with self._lock:
            slot = self._slot_of(key_id)
            if slot is None:
                return None
            tenant = self._tenants_by_handle[slot.tenant]
            label = slot.open(tenant.slot_key)[1]
            return StudyRef(tenant.name, label) if label else None

    def shred(self, study: StudyRef) -> bytes | None:
        with self._lock:
            self._settle()
            tenant = self._tenants.get(study.tenant)
            handle = tenant and _handle(tenant.handle_key, study.study_instance_uid)
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
        studies: list[tuple[int, _Slot]] = []
        for number, slot in enumerate(self._read_all(count)):
            if slot is None:
                self._free.append(number)
            elif slot.kind == _TENANT:
                self._remember_tenant(slot)
            else:
                studies.append((number, slot))
        self._next = count
        self._slots = {slot.handle: number for number, slot in studies if slot.tenant in self._tenants_by_handle}

    def _remember_tenant(self, slot: _Slot) -> None:
        try:
            key, name = slot.open(self._tenant_slot_key)
        except IntegrityError as error:
            raise ConfigurationError("the key ring was made under another root key; give the right one") from error
        tenant = _Tenant.of(name, slot.handle, key)
        self._tenants[name] = self._tenants_by_handle[slot.handle] = tenant

    def _add_tenant(self, name: str) -> _Tenant:
        if not 0 < len(name.encode()) <= _LABEL_BYTES:
            raise ConfigurationError(f"a tenant's name has 1 to {_LABEL_BYTES} bytes")
        handle = _handle(self._tenant_handle_key, name)
        key = secrets.token_bytes(32)
        self._append(_Slot.seal(_TENANT, handle, _NO_TENANT, self._tenant_slot_key, key, name))
        tenant = _Tenant.of(name, handle, key)
        self._tenants[name] = self._tenants_by_handle[handle] = tenant
        return tenant

    def _add_study(self, study: StudyRef, tenant: _Tenant) -> StudyKeys:
        handle = _handle(tenant.handle_key, study.study_instance_uid)
        key = secrets.token_bytes(32)
        slot = _Slot.seal(_STUDY, handle, tenant.handle, tenant.slot_key, key, study.study_instance_uid)
        self._slots[handle] = self._append(slot)
        return self._remember_study(study, StudyKeys(slot.key_id, key, tenant.content_id_key))

    def _open_study(self, study: StudyRef, tenant: _Tenant) -> StudyKeys | None:
        number = self._slots.get(_handle(tenant.handle_key, study.study_instance_uid))
        slot = None if number is None else self._read(number)
        if slot is None:
            return None
        keys = StudyKeys(slot.key_id, slot.open(tenant.slot_key)[0], tenant.content_id_key)
        return self._remember_study(study, keys)

    def _remember_study(self, study: StudyRef, keys: StudyKeys) -> StudyKeys:
        _remember(self._opened, study, keys)
        return _remember(self._opened_by_id, keys.key_id, keys)

    def _slot_of(self, key_id: bytes) -> _Slot | None:
        number = self._slots.get(key_id[:_HANDLE_BYTES])
        slot = None if number is None else self._read(number)
        return slot if slot is not None and slot.key_id == key_id else None

    def _append(self, slot: _Slot) -> int:
        number = self._free[-1] if self._free else self._next
        self._write(number, slot.encode(), otherwise=bytes(SLOT_BYTES))
        if self._free:
            self._free.pop()
        else:
            self._next += 1
        return number

    def _read(self, number: int) -> _Slot | None:
        data = bytearray(SLOT_BYTES)
        self._file.read_into(number * SLOT_BYTES, memoryview(data))
        return _Slot.decode(bytes(data))

    def _read_all(self, count: int) -> Iterator[_Slot | None]:
        block = bytearray(SLOT_BYTES * 4096)
        for first in range(0, count, 4096):
            done = self._file.read_into(first * SLOT_BYTES, memoryview(block))
            for at in range(0, done, SLOT_BYTES):
                yield _Slot.decode(bytes(block[at : at + SLOT_BYTES]))

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
            if _Slot.decode(bytes(slot)) is not None or not any(slot):
                break
            file.read_into(at, slot)
    return bytes(data)


def _remember(cache: dict[_Name, StudyKeys], name: _Name, keys: StudyKeys) -> StudyKeys:
    """Add to a cache of bounded size; the oldest leaves."""
    if len(cache) >= _CACHED_STUDIES:
        del cache[next(iter(cache))]
    cache[name] = keys
    return keys


def _handle(key: bytes, name: str) -> bytes:
    return hmac.digest(key, name.encode(), "sha256")[:_HANDLE_BYTES]
