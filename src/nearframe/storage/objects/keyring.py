"""The key ring in a table: slots as in the file of a single node, under the same root key.

Every origin over the store has the root key in its home; the database has only what that key
sealed. Shredding deletes the slot's row. The database may keep what it deleted for a while, in
its log, in pages not yet vacuumed and in backups, as a copy-on-write file system does.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import sqlalchemy as sa

from nearframe.storage.catalogue.database import Database
from nearframe.storage.objects.recording import forget_study
from nearframe.storage.objects.schema import key
from nearframe.storage.packs.keys import StudyKeys
from nearframe.storage.packs.slots import HANDLE_BYTES, RingKeys, Slot, SlotKind, Tenant
from nearframe.storage.ports import StudyRef

#: Studies whose opened keys stay in memory, about 2 KB each.
_CACHED_STUDIES: Final = 4096


class TableKeyRing:
    """A `KeyRing` that several origins share. What one of them shreds, the others are told by `forget_opened`.

    Raises
    ------
    ConfigurationError
        If the ring was made under another root key.
    """

    def __init__(self, database: Database, root_key: bytes) -> None:
        self._database = database
        self._root = RingKeys(root_key)
        self._lock = threading.Lock()
        self._tenants: dict[str, Tenant] = {}
        self._opened: dict[StudyRef, StudyKeys] = {}
        self._opened_by_id: dict[bytes, StudyKeys] = {}
        self._load_tenants()

    def find(self, study: StudyRef) -> StudyKeys | None:
        opened = self._opened.get(study)
        if opened is not None:
            return opened
        tenant = self._tenant(study.tenant)
        slot = None if tenant is None else self._slot(tenant.handle_of(study))
        return None if tenant is None or slot is None else self._remember(study, tenant.keys_of(slot))

    def knows(self, study: StudyRef) -> bool:
        tenant = self._tenant(study.tenant)
        return tenant is not None and self._slot(tenant.handle_of(study)) is not None

    def known(self, study: StudyRef) -> StudyKeys | None:
        """Return the keys of a study that are open in memory: asks nobody."""
        return self._opened.get(study)

    def ensure(self, study: StudyRef) -> StudyKeys:
        return self.find(study) or self._add(study)

    def by_id(self, key_id: bytes) -> StudyKeys | None:
        opened = self._opened_by_id.get(key_id)
        if opened is not None:
            return opened
        slot = self._slot(key_id[:HANDLE_BYTES])
        tenant = None if slot is None else self._tenant_of(slot)
        if slot is None or tenant is None or slot.key_id != key_id:
            return None
        keys = self._opened_by_id[key_id] = tenant.keys_of(slot)
        return keys

    def study_of(self, key_id: bytes) -> StudyRef | None:
        slot = self._slot(key_id[:HANDLE_BYTES])
        tenant = None if slot is None else self._tenant_of(slot)
        return None if slot is None or tenant is None or slot.key_id != key_id else tenant.study_of(slot)

    def shred(self, study: StudyRef) -> bytes | None:
        """Destroy a study's data key, and end its references with it, in one transaction."""
        with self._database.write() as connection:
            key_id = self.shred_within(connection, study)
        self.forget_opened()
        return key_id

    def shred_within(self, connection: sa.Connection, study: StudyRef) -> bytes | None:
        """Do that as part of a transaction; what is opened of the keys stays so."""
        tenant = self._tenant(study.tenant)
        if tenant is None:
            return None
        handle = tenant.handle_of(study)
        slot = _decoded(connection.execute(_slot_at(handle)).scalar())
        if slot is None:
            return None
        connection.execute(sa.delete(key).where(key.c.handle == handle))
        forget_study(connection, slot.key_id)
        return slot.key_id

    def settle(self) -> None:
        """Nothing to do: the database knows how its transactions ended."""

    def forget_opened(self) -> None:
        """Forget the keys of studies: one of them may be gone."""
        self._opened.clear()
        self._opened_by_id.clear()

    def _remember(self, study: StudyRef, keys: StudyKeys) -> StudyKeys:
        if len(self._opened) >= _CACHED_STUDIES:
            self.forget_opened()
        self._opened[study] = self._opened_by_id[keys.key_id] = keys
        return keys

    def _slot(self, handle: bytes) -> Slot | None:
        with self._database.read() as connection:
            return _decoded(connection.execute(_slot_at(handle)).scalar())

    def _tenant(self, name: str) -> Tenant | None:
        if name not in self._tenants:
            self._load_tenants()  # another origin may have added it
        return self._tenants.get(name)

    def _tenant_of(self, slot: Slot) -> Tenant | None:
        tenant = self._tenant_at(slot.tenant)
        if tenant is None:
            self._load_tenants()
            tenant = self._tenant_at(slot.tenant)
        return tenant

    def _tenant_at(self, handle: bytes) -> Tenant | None:
        return next((one for one in self._tenants.values() if one.handle == handle), None)

    def _load_tenants(self) -> None:
        with self._database.read() as connection:
            slots = connection.execute(sa.select(key.c.slot).where(key.c.kind == SlotKind.TENANT)).scalars().all()
        for slot in filter(None, map(_decoded, slots)):
            tenant = self._root.tenant_of(slot)
            self._tenants[tenant.name] = tenant

    def _add(self, study: StudyRef) -> StudyKeys:
        # This process asks once for each new study; another origin may be ahead all the same.
        with self._lock, self._database.write() as connection:
            slots = connection.execute(sa.select(key.c.slot).where(key.c.kind == SlotKind.TENANT)).scalars().all()
            tenants = [self._root.tenant_of(slot) for slot in filter(None, map(_decoded, slots))]
            tenant = next((one for one in tenants if one.name == study.tenant), None)
            if tenant is None:
                tenant_slot, tenant = self._root.new_tenant(study.tenant)
                _insert(connection, tenant_slot)
            slot = _decoded(connection.execute(_slot_at(tenant.handle_of(study))).scalar())
            if slot is None:
                slot, keys = tenant.new_study(study)
                _insert(connection, slot)
            else:
                keys = tenant.keys_of(slot)
        self._tenants[tenant.name] = tenant
        return self._remember(study, keys)


def _slot_at(handle: bytes) -> sa.Select[Any]:
    return sa.select(key.c.slot).where(key.c.handle == handle)


def _decoded(data: bytes | None) -> Slot | None:
    return None if data is None else Slot.decode(data)


def _insert(connection: sa.Connection, slot: Slot) -> None:
    connection.execute(sa.insert(key).values(handle=slot.handle, kind=int(slot.kind), slot=slot.encode()))
