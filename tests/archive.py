"""A small archive with real store, catalogue, ingest and DICOMweb application, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pydicom.data

from nearframe.clock import ManualClock
from nearframe.config import Settings
from nearframe.context import local_admin
from nearframe.dicom.limits import Limits
from nearframe.dicomweb.address import instance_path
from nearframe.dicomweb.app import dicomweb_app
from nearframe.dicomweb.frameservices import frame_services
from nearframe.dicomweb.ports import StoredInstance
from nearframe.dicomweb.services import services
from nearframe.intake.ingest import Ingest
from nearframe.intake.spool import Spool, SpoolLimits
from nearframe.intake.store import Store
from nearframe.metrics import Metrics
from nearframe.query.contents import LocalContents
from nearframe.query.freshness import Freshness
from nearframe.query.remove import CatalogueRemoval
from nearframe.query.workers import Workers
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import InstanceRecord, StudyRef

TEST_FILES = Path(pydicom.data.__file__).parent / "test_files"


def sample(name: str) -> bytes:
    """Return one of the files that come with pydicom."""
    return (TEST_FILES / name).read_bytes()


class Archive:
    """Everything behind the routes, in a folder of its own.

    Parameters
    ----------
    catalogue
        That it closes; one in the folder if none is given.
    """

    def __init__(self, folder: Path, *, catalogue: SQLCatalogue | None = None, **settings: Any) -> None:
        self.settings = Settings(**{"home": folder, "delete_policy": "remove", **settings})
        self.contents = PackStore(folder / "store", PackSettings(reserve_bytes=0))
        self.catalogue = catalogue or open_catalogue(folder / "catalogue.sqlite")
        self.sql, self.cpu = Workers("sql", 2), Workers("cpu", 2)
        self.freshness = Freshness()
        self.context = local_admin()
        self.clock = ManualClock()
        self.ingest = Ingest(self.contents, self.catalogue, Metrics())
        self.store = Store(self.ingest, Spool(folder / "spool", SpoolLimits(reserve_bytes=0)))
        reading = frame_services(
            self.catalogue,
            LocalContents(self.contents, self.sql),
            self.settings,
            freshness=self.freshness,
            sql=self.sql,
            cpu=self.cpu,
            monotonic=self.clock.monotonic,
        )
        self.services = services(
            self.catalogue,
            reading,
            self.settings,
            limits=Limits(),
            freshness=self.freshness,
            sql=self.sql,
            cpu=self.cpu,
            store=self.store,
            remove=CatalogueRemoval(
                self.catalogue,
                reading.records,
                self.sql,
                self.freshness,
                allowed=self.settings.delete_policy == "remove",
            ),
            monotonic=self.clock.monotonic,
        )
        self.app = dicomweb_app(self.services, self.settings, lambda scope: self.context)

    def client(
        self, headers: Mapping[str, str] | None = None, base_url: str = "http://archive.test"
    ) -> httpx.AsyncClient:
        """Return a client of the application, without sockets."""
        transport = httpx.ASGITransport(self.app)
        wanted = {"Accept-Encoding": "identity", **(headers or {})}
        return httpx.AsyncClient(transport=transport, base_url=base_url, headers=wanted)

    async def add(self, *files: bytes) -> list[StoredInstance]:
        """Store files; returns once they are durable and visible."""
        report = await self.store.store(self.context, _parts(files), None)
        assert not report.failed, report.failed
        for stored in report.stored:
            self.freshness.changed(StudyRef(self.context.tenant, stored.identity.study_instance_uid))
        return list(report.stored)

    def record(self, stored: StoredInstance) -> InstanceRecord:
        """Return the stored version of an instance."""
        uid = stored.identity.sop_instance_uid
        return self.catalogue.find_instance(self.context.tenant, uid, version=stored.version)

    def close(self) -> None:
        """Close the store, the catalogue and the threads."""
        self.ingest.close()
        self.sql.close()
        self.cpu.close()
        self.contents.close()
        self.catalogue.close()


@asynccontextmanager
async def open_archive(folder: Path, **settings: Any) -> AsyncIterator[Archive]:
    """Open an archive for the time of the block."""
    archive = Archive(folder, **settings)
    try:
        yield archive
    finally:
        archive.close()


def path_of(stored: StoredInstance) -> str:
    """Return the path of an instance."""
    return "/dicomweb" + instance_path(stored.identity)


@dataclass(frozen=True, slots=True)
class _Part:
    body: AsyncIterator[bytes]
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/dicom"})


async def _parts(files: tuple[bytes, ...]) -> AsyncIterator[_Part]:
    for data in files:
        yield _Part(_chunks(data))


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 65536):
        yield data[at : at + 65536]


#: Files of every kind, by the names they have in pydicom.
FILES = (
    "CT_small.dcm",  # Explicit VR Little Endian, 16 bit
    "MR_small_bigendian.dcm",  # Explicit VR Big Endian
    "SC_rgb_small_odd_big_endian.dcm",  # 27 bytes of colour in 16-bit words
    "image_dfl.dcm",  # deflated
    "examples_jpeg2k.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "JPEGLSNearLossless_16.dcm",
    "examples_ybr_color.dcm",  # JPEG baseline, 30 frames
    "SC_rgb_rle_2frame.dcm",
    "rtdose.dcm",  # 15 frames of 32 bit
    "liver_1frame.dcm",  # one bit
    "examples_palette.dcm",
    "examples_overlay.dcm",
    "waveform_ecg.dcm",
    "test-SR.dcm",
)


@dataclass(frozen=True)
class Stocked:
    """An archive, a client of it, and what it holds."""

    archive: Archive
    client: httpx.AsyncClient
    instances: dict[str, StoredInstance]

    def path(self, name: str) -> str:
        return path_of(self.instances[name])

    async def get(self, path: str, accept: str | None = None, **headers: str) -> httpx.Response:
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        if accept is not None:
            wanted["Accept"] = accept
        return await self.client.get(path, headers=wanted)


def rewritten(dataset: pydicom.Dataset) -> bytes:
    """Return a data set as a file."""
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()
