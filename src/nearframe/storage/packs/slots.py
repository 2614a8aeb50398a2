"""Slots: what a key ring consists of, in a file or in a table. Bytes <-> values.

Slot, 256 bytes, little endian::

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
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.errors import ConfigurationError, IntegrityError
from nearframe.storage.packs.keys import StudyKeys, derive
from nearframe.storage.ports import StudyRef

SLOT_BYTES: Final = 256
HANDLE_BYTES: Final = 12

_SLOT = struct.Struct("<4sB3x12s4s12s12s204sI")
_SLOT_MAGIC = b"NFK\x01"
_SEALED_BYTES = 204
_ASSOCIATED_BYTES = 36  # everything of the slot before the nonce
_LABEL_BYTES = _SEALED_BYTES - 16 - 32 - 2
_NO_TENANT = bytes(HANDLE_BYTES)


class SlotKind(IntEnum):
    """Whose key a slot holds. The numbers are on disk: never renumber."""

    TENANT = 1
    STUDY = 2


class RingKeys:
    """What the root key gives: where tenants' slots are, and what opens them."""

    def __init__(self, root_key: bytes) -> None:
        self._handles = derive(root_key, "tenant handles")
        self._slots = derive(root_key, "tenant keys")

    def tenant_of(self, slot: Slot) -> Tenant:
        """Open a tenant's slot.

        Raises
        ------
        ConfigurationError
            If it was made under another root key.
        """
        try:
            key, name = slot.open(self._slots)
        except IntegrityError as error:
            raise ConfigurationError("the key ring was made under another root key; give the right one") from error
        return Tenant.of(name, slot.handle, key)

    def new_tenant(self, name: str) -> tuple[Slot, Tenant]:
        """Make a tenant's key, and the slot to keep it in."""
        if not 0 < len(name.encode()) <= _LABEL_BYTES:
            raise ConfigurationError(f"a tenant's name has 1 to {_LABEL_BYTES} bytes")
        handle = handle_of(self._handles, name)
        key = secrets.token_bytes(32)
        return Slot.seal(SlotKind.TENANT, handle, _NO_TENANT, self._slots, key, name), Tenant.of(name, handle, key)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant's name and what its key gives."""

    name: str
    handle: bytes
    handle_key: bytes
    content_id_key: bytes
    slot_key: bytes

    @classmethod
    def of(cls, name: str, handle: bytes, key: bytes) -> Tenant:
        return cls(name, handle, derive(key, "study handles"), derive(key, "content ids"), derive(key, "study keys"))

    def handle_of(self, study: StudyRef) -> bytes:
        """Return the handle of one of the tenant's studies."""
        return handle_of(self.handle_key, study.study_instance_uid)

    def keys_of(self, slot: Slot) -> StudyKeys:
        """Open a study's slot."""
        return StudyKeys(slot.key_id, slot.open(self.slot_key)[0], self.content_id_key)

    def study_of(self, slot: Slot) -> StudyRef | None:
        """Return whose slot it is, if its label tells."""
        label = slot.open(self.slot_key)[1]
        return StudyRef(self.name, label) if label else None

    def new_study(self, study: StudyRef) -> tuple[Slot, StudyKeys]:
        """Make a study's key, and the slot to keep it in."""
        key = secrets.token_bytes(32)
        handle = self.handle_of(study)
        slot = Slot.seal(SlotKind.STUDY, handle, self.handle, self.slot_key, key, study.study_instance_uid)
        return slot, StudyKeys(slot.key_id, key, self.content_id_key)


@dataclass(frozen=True, slots=True)
class Slot:
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
    def decode(cls, data: bytes) -> Slot | None:
        """Return the slot, or None if it is empty: never written whole, or shredded."""
        if len(data) != SLOT_BYTES:
            return None
        magic, kind, handle, generation, tenant, nonce, sealed, crc = _SLOT.unpack(data)
        if magic != _SLOT_MAGIC or crc != zlib.crc32(data[:-4]):
            return None
        return cls(kind, handle, generation, tenant, nonce, sealed)

    @classmethod
    def seal(cls, kind: int, handle: bytes, tenant: bytes, under: bytes, key: bytes, label: str) -> Slot:
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


def handle_of(key: bytes, name: str) -> bytes:
    """Return what stands for a name: says nothing of it to who lacks the key."""
    return hmac.digest(key, name.encode(), "sha256")[:HANDLE_BYTES]
