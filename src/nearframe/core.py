"""What both roles stand on: store, catalogue, threads; opened and closed in order.

::

    PackStore, Catalogue ── Workers ── query services ── DICOMweb ─┐
         │                                                         ├─ one ASGI application ── listener
         └─ origin: ingest, background ──────────────── /api ──────┘
            edge:   replication, fetching ───────────── /api
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from starlette.types import Scope

from nearframe import tasks
from nearframe.clock import SystemClock
from nearframe.config import WORKING_BYTES, Settings
from nearframe.context import Context, Urgency, local_admin
from nearframe.dicom.limits import Limits
from nearframe.dicomweb.frameservices import FrameServices, frame_services
from nearframe.errors import ConfigurationError, MalformedRequest
from nearframe.metrics import S3_REQUESTS, Metrics
from nearframe.query.contents import ContentReader
from nearframe.query.freshness import Freshness, SeesLatest
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.catalogue import CATALOGUE_FILE, SQLCatalogue, open_catalogue
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.role import claim
from nearframe.storage.scratch import ScratchFolder
from nearframe.storage.stores import Store, open_store
from nearframe.sync.directory import Directory, configured
from nearframe.upkeep.duties import Duties
from nearframe.upkeep.service import Upkeep
from nearframe.wire import priority

TENANT_HEADER: Final = b"nearframe-tenant"
_MAX_TENANT_CHARS: Final = 64
_SQL_THREADS: Final = 4
#: A manifest or delta of thousands of slices takes seconds: not in the threads that readers wait for.
_SYNC_THREADS: Final = 2
#: What others wrote is looked for this often; this process tells its caches at once.
_FRESHNESS_S: Final = 0.25
#: Duty: compaction and scrub of a store that several processes share.
_UPKEEP: Final = "store-upkeep"


#: Opens the store of a node.
OpenStore: TypeAlias = Callable[[Settings, PackSettings, Metrics], Store]


def packs_of(kind: type[PackStore]) -> OpenStore:
    """Return what opens packs in the home folder."""
    return lambda settings, sizes, metrics: kind(settings.home, sizes)


def open_origin_store(settings: Settings, sizes: PackSettings, metrics: Metrics) -> Store:
    """Open what an origin keeps contents in, and count what it asks a bucket for."""
    return open_store(settings, sizes, lambda operation: metrics.add(S3_REQUESTS, operation=operation))


@dataclass(frozen=True, slots=True)
class Core:
    """What both roles stand on."""

    settings: Settings
    metrics: Metrics
    packs: Store
    catalogue: SQLCatalogue
    manifests: Manifests
    freshness: Freshness
    sql: Workers
    cpu: Workers
    sync: Workers
    disk: Workers
    limits: Limits
    scratch: ScratchFolder
    epoch: str
    upkeep: Upkeep
    duties: Duties
    #: Called, on the event loop, when another process may have committed something.
    on_news: list[Callable[[], object]]
    sees_latest: SeesLatest | None

    @property
    def node_name(self) -> str:
        """Who this node is in ``Via``: as unique as its catalogue, and no name of a place."""
        return f"nearframe-{self.epoch[:8]}"

    def gate(self, scope: Scope) -> Context:
        """Say who makes a request, and how urgently.

        Until custody lands: a process of this machine, for the tenant it names.
        """
        tenant, urgency = self.settings.tenant, Urgency.ROUTINE
        for name, value in scope["headers"]:
            if name == TENANT_HEADER:
                tenant = value.decode("latin-1").strip()
                if not tenant.isprintable() or not 0 < len(tenant) <= _MAX_TENANT_CHARS:
                    raise MalformedRequest(f"a tenant's name has 1 to {_MAX_TENANT_CHARS} characters")
            elif name == priority.HEADER:
                urgency = priority.read_priority(value)
        return local_admin(tenant, urgency)


@asynccontextmanager
async def open_core(settings: Settings, role: str, store: OpenStore) -> AsyncIterator[Core]:
    """Open store and catalogue; close them in order."""
    async with AsyncExitStack() as stack:
        _make_home(settings.home)
        metrics = Metrics()
        sql = await stack.enter_async_context(_workers("sql", _SQL_THREADS))
        cpu = await stack.enter_async_context(_workers("cpu", settings.codec_threads))
        sync = await stack.enter_async_context(_workers("sync", _SYNC_THREADS))
        disk = await stack.enter_async_context(_workers("disk", _SQL_THREADS))
        sizes = PackSettings(
            settings.segment_bytes,
            settings.chunk_bytes,
            settings.kept_free_bytes,
            settings.frame_memory_bytes,
            WORKING_BYTES,
        )
        packs = await disk.run(store, settings, sizes, metrics)
        stack.push_async_callback(disk.run, packs.close)
        # From here on this process owns the home: what lies about there is a dead one's.
        claim(settings.home, role)
        scratch = await disk.run(ScratchFolder, settings.home / "scratch", settings.disk_reserve_bytes)
        where = settings.database_url or settings.home / CATALOGUE_FILE
        # An edge gets its catalogue from upstream again; an origin has none to get it from.
        may_create = role == "edge" or (await disk.run(packs.stats)).contents == 0
        catalogue = await sql.run(partial(open_catalogue, where, may_create=may_create, honours_notes=role != "edge"))
        stack.push_async_callback(_close, catalogue, (sql, sync, disk))
        freshness = Freshness()
        duties = Duties(catalogue, _process_name(settings), sql, SystemClock())
        core = Core(
            settings=settings,
            metrics=metrics,
            packs=packs,
            catalogue=catalogue,
            manifests=Manifests(catalogue, sync, settings.metadata_cache_bytes),
            freshness=freshness,
            sql=sql,
            cpu=cpu,
            sync=sync,
            disk=disk,
            limits=limits_of(settings, scratch),
            scratch=scratch,
            epoch=(await sql.run(catalogue.head)).epoch,
            upkeep=_upkeep(settings, packs, metrics, duties),
            duties=duties,
            on_news=[],
            sees_latest=SeesLatest(freshness, catalogue, sql) if catalogue.database.is_shared else None,
        )
        core.on_news.append(core.duties.wake)
        core.upkeep.start()
        stack.push_async_callback(core.upkeep.stop)
        watches = [tasks.spawn(_watch_changes(core), name="watch changes")]
        if catalogue.database.news is not None:
            watches.append(tasks.spawn(_hear_news(core, catalogue.database.news()), name="hear news"))
        stack.push_async_callback(tasks.cancel, watches)
        if core.sees_latest is not None:
            stack.push_async_callback(core.sees_latest.close)
        yield core


async def _close(catalogue: SQLCatalogue, users: Iterable[Workers]) -> None:
    for workers in users:  # calls whose callers were cancelled hold connections
        await workers.drained()
    await asyncio.to_thread(catalogue.close)


def _make_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"--home {home}: {error.strerror}; name a folder that exists or can be made"
        ) from error
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigurationError(f"--home {home}: Permission denied; the folder belongs to the user that runs the node")


def _upkeep(settings: Settings, packs: Store, metrics: Metrics, duties: Duties) -> Upkeep:
    if packs.is_remote:
        duties.add(_UPKEEP, _permission)
    return Upkeep(
        packs,
        settings.home,
        SystemClock(),
        metrics,
        rate_bytes=settings.upkeep_rate_bytes,
        scrub_every=timedelta(days=settings.scrub_days) if settings.scrub_days else None,
        is_mine=lambda: not packs.is_remote or duties.does(_UPKEEP),
    )


@asynccontextmanager
async def _permission(catalogue: SQLCatalogue) -> AsyncIterator[None]:
    # A store has an index of its own, in which each step is safe beside another process's: the lease saves work.
    yield


def limits_of(settings: Settings, scratch: ScratchFolder) -> Limits:
    """Return the guard that the settings describe."""
    return Limits(
        max_instance_bytes=settings.max_instance_bytes,
        max_header_bytes=settings.max_header_bytes,
        max_elements=settings.max_elements,
        max_nesting=settings.max_nesting,
        max_fragments=settings.max_fragments,
        max_frames=settings.max_frames,
        max_inflated_bytes=settings.max_inflated_bytes,
        max_inflate_ratio=settings.max_inflate_ratio,
        max_parse_seconds=settings.max_parse_seconds,
        scratch=scratch.open,
    )


def frames_of(core: Core, contents: ContentReader) -> FrameServices:
    """Put the services together that serve frames."""
    return frame_services(core.catalogue, contents, core.settings, freshness=core.freshness, sql=core.sql, cpu=core.cpu)


def directory_of(core: Core) -> Directory:
    """Return the nodes that clients are told of: the configured ones, so far."""
    with core.settings.reading("edges"):
        return Directory(configured(core.settings.edges), SystemClock())


async def _watch_changes(core: Core) -> None:
    while True:
        await core.freshness.follow_once(core.catalogue, core.sql)
        await asyncio.sleep(_FRESHNESS_S)


async def _hear_news(core: Core, news: AsyncIterator[None]) -> None:
    async for _ in news:
        for call in core.on_news:
            call()


def _process_name(settings: Settings) -> str:
    """Return what people know this process by among those of its archive."""
    return settings.name or f"{socket.gethostname()} {settings.http} ({os.getpid()})"


@asynccontextmanager
async def _workers(name: str, threads: int) -> AsyncIterator[Workers]:
    workers = Workers(name, threads)
    try:
        yield workers
    finally:
        workers.close()
