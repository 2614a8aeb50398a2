"""An origin without its HTTP: real packs, real catalogue, real ingest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nearframe.context import local_admin
from nearframe.dicomweb.ports import StoreReport
from nearframe.intake.ingest import Ingest
from nearframe.intake.spool import Spool, SpoolLimits
from nearframe.intake.store import Store
from nearframe.metrics import Metrics
from nearframe.storage.catalogue import open_catalogue
from nearframe.storage.catalogue.catalogue import SQLCatalogue
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.packs.faulty import FaultyDisk
from nearframe.storage.packs.keyring import SlotKeyRing
from nearframe.storage.ports import InstanceRecord
from nearframe.wire.header import HeaderBlob

CHUNK_BYTES = 64 * 1024
ROOT_KEY = bytes(32)


@dataclass(frozen=True)
class Part:
    """A part of a store request."""

    data: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/dicom"})

    @property
    def body(self) -> AsyncIterator[bytes]:
        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(self.data), CHUNK_BYTES):
                yield self.data[at : at + CHUNK_BYTES]

        return chunks()


@dataclass
class Node:
    """The services of one origin."""

    home: Path
    contents: PackStore
    catalogue: SQLCatalogue
    metrics: Metrics
    ingest: Ingest
    store_service: Store

    async def store(self, *files: bytes, tenant: str = "main", study: str | None = None) -> StoreReport:
        """Store files as one request."""
        return await self.store_parts(*map(Part, files), tenant=tenant, study=study)

    async def store_parts(self, *parts: Part, tenant: str = "main", study: str | None = None) -> StoreReport:
        async def given() -> AsyncIterator[Part]:
            for part in parts:
                yield part

        return await self.store_service.store(local_admin(tenant), given(), study)

    def file(self, record: InstanceRecord) -> bytes:
        """Put a stored file together again."""
        header = HeaderBlob.decode(self.contents.read(record.study, record.hdr))

        def piece(index: int, offset: int, length: int) -> bytes:
            place = record.pieces[index]
            digest = record.frames.enc_of(place) if place >= 0 else record.bulk[-1 - place].digest
            return self.contents.read(record.study, digest, offset, offset + length)

        return b"".join(header.reassemble(piece))

    def versions(self, uid: str, tenant: str = "main") -> list[bytes]:
        """Return every stored version of an instance, oldest first."""
        return [self.file(record) for record in self.catalogue.list_versions(tenant, uid)]


@contextmanager
def open_node(home: Path, limits: SpoolLimits | None = None, disk: FaultyDisk | None = None) -> Iterator[Node]:
    """Open a node; with `disk`, its packs and keys lie there and can be lost."""
    metrics = Metrics()
    contents = _open_contents(home, disk)
    catalogue = open_catalogue(home / "catalogue.sqlite")
    ingest = Ingest(contents, catalogue, metrics)
    spool = Spool(home / "spool", limits or SpoolLimits(reserve_bytes=0))
    try:
        yield Node(home, contents, catalogue, metrics, ingest, Store(ingest, spool))
    finally:
        ingest.close()
        catalogue.close()
        if disk is None:
            contents.close()
        else:
            contents.abandon()


def _open_contents(home: Path, disk: FaultyDisk | None) -> PackStore:
    settings = PackSettings(reserve_bytes=0)
    if disk is None:
        return PackStore(home, settings)
    home.mkdir(exist_ok=True)
    return PackStore(home, settings, files=disk.directory("packs"), keys=SlotKeyRing(disk.directory("keys"), ROOT_KEY))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with open_node(tmp_path / "home") as node:
        yield node
