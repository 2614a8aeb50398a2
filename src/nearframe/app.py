"""The composition root: settings become a node, and a node starts and stops in order.

::

    PackStore, Catalogue ── Workers ── query services ── DICOMweb ─┐
         │                                                         ├─ one ASGI application ── listener
         └─ origin: ingest, background ──────────────── /api ──────┘
            edge:   replication, fetching ───────────── /api
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from nearframe import log, tasks
from nearframe.cache.segments import Segments
from nearframe.clock import SystemClock
from nearframe.config import Settings
from nearframe.context import Context, Urgency, local_admin
from nearframe.dicom.limits import Limits
from nearframe.dicomweb.address import ROOT, Addresses
from nearframe.dicomweb.app import dicomweb_app
from nearframe.dicomweb.boundary import unknown
from nearframe.dicomweb.cors import CORS, READING
from nearframe.dicomweb.ports import RemoveService, StoreService
from nearframe.dicomweb.problems import problem
from nearframe.dicomweb.services import Services, services
from nearframe.edge.api import edge_routes
from nearframe.edge.keptstore import KeptStore
from nearframe.edge.node import Edge, Kept
from nearframe.edge.outbox import Outbox
from nearframe.edge.outbox_http import outbox_check, outbox_routes, outbox_status
from nearframe.edge.segments import segment_routes
from nearframe.errors import ConfigurationError, MalformedRequest
from nearframe.intake.ingest import Ingest
from nearframe.intake.inuse import StudiesInUse
from nearframe.intake.spool import Spool, SpoolLimits
from nearframe.intake.store import Store
from nearframe.metrics import CONTENT_TYPE, Metrics
from nearframe.origin.activity import Activity
from nearframe.origin.admin import Admin
from nearframe.origin.api import ApiServices, api_routes
from nearframe.origin.background import Background, Consumer
from nearframe.origin.perceptual_hashes import PerceptualHashes
from nearframe.origin.pixel_digests import PixelDigests
from nearframe.origin.renditions import Renditions
from nearframe.query.contents import ContentReader, LocalContents
from nearframe.query.deltas import Deltas
from nearframe.query.feedwatch import FeedWatch
from nearframe.query.freshness import Freshness
from nearframe.query.headeredits import Part10Edits
from nearframe.query.health import Check, catalogue_check, disk_check, examine, upstream_check
from nearframe.query.manifests import Manifests
from nearframe.query.records import InstanceRecords
from nearframe.query.remove import CatalogueRemoval
from nearframe.query.status import node_status
from nearframe.query.workers import Workers
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue
from nearframe.storage.durable import replace_durably
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import StudyRef
from nearframe.storage.scratch import ScratchFolder, remove_leftovers
from nearframe.sync.app import sync_routes
from nearframe.sync.directory import Directory, Role, configured
from nearframe.sync.directory_health import NodeHealth
from nearframe.sync.directory_http import Listing, directory_routes
from nearframe.sync.services import SyncServices, TakesIn, not_told, nothing_under_way
from nearframe.upkeep.http import upkeep_routes
from nearframe.upkeep.service import Upkeep
from nearframe.web import viewer
from nearframe.web.pages import Pages
from nearframe.wire import priority

_log = log.logger(__name__)

TENANT_HEADER: Final = b"nearframe-tenant"
_MAX_TENANT_CHARS: Final = 64
_SQL_THREADS: Final = 4
#: A manifest or delta of thousands of slices takes seconds: not in the threads that readers wait for.
_SYNC_THREADS: Final = 2
#: Other processes may write to a shared catalogue; this one tells its caches at once.
_FRESHNESS_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Core:
    """What both roles stand on."""

    settings: Settings
    metrics: Metrics
    packs: PackStore
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
async def open_core(settings: Settings, role: str, store: type[PackStore]) -> AsyncIterator[Core]:
    """Open store and catalogue; close them in order."""
    async with AsyncExitStack() as stack:
        _make_home(settings.home)
        metrics = Metrics()
        sql = await stack.enter_async_context(_workers("sql", _SQL_THREADS))
        cpu = await stack.enter_async_context(_workers("cpu", settings.codec_threads))
        sync = await stack.enter_async_context(_workers("sync", _SYNC_THREADS))
        disk = await stack.enter_async_context(_workers("disk", _SQL_THREADS))
        sizes = PackSettings(
            settings.segment_bytes, settings.chunk_bytes, settings.kept_free_bytes, settings.frame_memory_bytes
        )
        packs = await disk.run(store, settings.home, sizes)
        stack.push_async_callback(disk.run, packs.close)
        # From here on this process owns the home: what lies about there is a dead one's.
        claim(settings.home, role)
        scratch = await disk.run(ScratchFolder, settings.home / "scratch", settings.disk_reserve_bytes)
        where = settings.database_url or settings.home / "catalogue.sqlite"
        # An edge gets its catalogue from upstream again; an origin has none to get it from.
        may_create = role == "edge" or (await disk.run(packs.stats)).contents == 0
        catalogue = await sql.run(partial(open_catalogue, where, may_create=may_create))
        stack.push_async_callback(sql.run, catalogue.close)
        core = Core(
            settings=settings,
            metrics=metrics,
            packs=packs,
            catalogue=catalogue,
            manifests=Manifests(catalogue, sync, settings.metadata_cache_bytes),
            freshness=Freshness(),
            sql=sql,
            cpu=cpu,
            sync=sync,
            disk=disk,
            limits=limits_of(settings, scratch),
            scratch=scratch,
            epoch=(await sql.run(catalogue.head)).epoch,
            upkeep=_upkeep(settings, packs, metrics),
        )
        core.upkeep.start()
        stack.push_async_callback(core.upkeep.stop)
        watch = tasks.spawn(_watch_changes(core), name="watch changes")
        stack.push_async_callback(tasks.cancel, [watch])
        yield core


def _make_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"--home {home}: {error.strerror}; name a folder that exists or can be made"
        ) from error


def claim(home: Path, role: str) -> None:
    """Note whose home this is.

    Raises
    ------
    ConfigurationError
        If it is one of the other role: an edge would take an archive's studies for copies of its upstream's.
    """
    place = home / "role"
    if not place.exists():
        replace_durably(place, f"{role}\n".encode("ascii"))
    elif (found := place.read_text(encoding="ascii", errors="replace").strip()) != role:
        raise ConfigurationError(f"--home {home} is the home of an {found}; give this {role} another one")


def _upkeep(settings: Settings, packs: PackStore, metrics: Metrics) -> Upkeep:
    return Upkeep(
        packs,
        settings.home,
        SystemClock(),
        metrics,
        rate_bytes=settings.upkeep_rate_bytes,
        scrub_every=timedelta(days=settings.scrub_days) if settings.scrub_days else None,
    )


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


def services_of(
    core: Core, contents: ContentReader, store: StoreService | None, remove: RemoveService | None
) -> Services:
    """Put the services together that DICOMweb serves."""
    return services(
        core.catalogue,
        contents,
        core.settings,
        limits=core.limits,
        freshness=core.freshness,
        sql=core.sql,
        cpu=core.cpu,
        store=store,
        remove=remove,
    )


def sync_services(
    core: Core,
    contents: ContentReader,
    feed: FeedWatch,
    takes: TakesIn | None,
    opened: Callable[[StudyRef], Awaitable[None]] = not_told,
    making: Callable[[], bool] = nothing_under_way,
) -> SyncServices:
    """Put the services together that other nodes, and clients, follow this one by."""
    deltas = Deltas(
        core.catalogue,
        core.packs,
        core.manifests,
        Part10Edits(),
        core.sync,
        core.settings.metadata_cache_bytes // 4,
    )
    return SyncServices(
        catalogue=core.catalogue,
        store=core.packs,
        contents=contents,
        feed=feed,
        manifests=core.manifests,
        deltas=deltas,
        workers=core.sync,
        metrics=core.metrics,
        node_name=core.node_name,
        opened=opened,
        takes=takes,
        making=making,
    )


class NodeApp:
    """Everything a node answers: DICOMweb by its own router, the rest by one table.

    Parameters
    ----------
    nodes
        See `dicomweb.cors.CORS`.
    """

    def __init__(
        self,
        dicomweb: ASGIApp,
        routes: Iterable[BaseRoute],
        nodes: Callable[[], Container[str]],
        unknown: ASGIApp = unknown,
    ) -> None:
        self._dicomweb = dicomweb
        others = Router(list(routes), redirect_slashes=False, default=unknown)
        self._others = CORS(others, (), nodes, READING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(ROOT) or path == "/openapi.json":
            await self._dicomweb(scope, receive, send)
        else:
            await self._others(scope, receive, send)


def node_routes(
    core: Core, role: str, checks: Mapping[str, Check] | None = None, viewer_folder: Path | None = None
) -> list[BaseRoute]:
    """Return what every node answers besides its API: health, metrics, pages. Pages come last.

    Parameters
    ----------
    checks
        Of the role's own health, besides catalogue and disk.
    """
    examined = {
        "catalogue": catalogue_check(core.catalogue, core.sql),
        "disk": disk_check(core.settings.home, core.settings.kept_free_bytes, core.disk),
        **(checks or {}),
    }

    async def health(request: Request) -> Response:
        found = await examine(examined)
        return JSONResponse(found.as_json(), found.http_status, {"Cache-Control": "no-store"})

    async def metrics(request: Request) -> Response:
        return Response(core.metrics.exposition(), media_type=CONTENT_TYPE)

    settings = core.settings
    pages = Pages(role, viewer_folder or viewer.installed(), settings.browser_cache, settings.browser_cache_bytes)
    own = [Route("/healthz", health), Route("/metrics", metrics)]
    return [*own, *upkeep_routes(core.upkeep, core.gate), *pages.routes()]


@asynccontextmanager
async def open_listing(core: Core, role: Role) -> AsyncIterator[Listing]:
    """Open the list of nodes that clients are told."""
    settings = core.settings
    health = NodeHealth(SystemClock(), settings.upstream_ca)
    try:
        yield Listing(settings, role, core.node_name, Directory(configured(settings.edges), SystemClock()), health)
    finally:
        await health.close()


def local_contents(core: Core) -> LocalContents:
    """Return the reader of this node's own packs."""
    return LocalContents(core.packs, core.disk)


async def _watch_changes(core: Core) -> None:
    while True:
        await core.freshness.follow_once(core.catalogue, core.sql)
        await asyncio.sleep(_FRESHNESS_S)


@asynccontextmanager
async def _workers(name: str, threads: int) -> AsyncIterator[Workers]:
    workers = Workers(name, threads)
    try:
        yield workers
    finally:
        workers.close()


@asynccontextmanager
async def open_origin(settings: Settings) -> AsyncIterator[tuple[ASGIApp, Metrics]]:
    """Open an origin: the archive. The value is what it answers, and its metrics."""
    async with open_core(settings, "origin", PackStore) as core, AsyncExitStack() as stack:
        activity = Activity()
        background = await core.sql.run(_background, core, activity)
        stack.push_async_callback(core.disk.run, background.close)
        feed = FeedWatch(core.catalogue, core.sql)
        stack.push_async_callback(feed.close)
        loop = asyncio.get_running_loop()

        def committed() -> None:
            background.wake()
            loop.call_soon_threadsafe(feed.nudge)

        takes = await stack.enter_async_context(_taking_in(core, committed))
        store = Store(takes.ingest, takes.spool, core.limits, settings.max_rejected_parts)
        records = InstanceRecords(core.catalogue, core.sql, core.freshness, settings.record_cache_entries)
        allowed = settings.delete_policy == "remove"
        remove = CatalogueRemoval(core.catalogue, records, core.sql, core.freshness, allowed=allowed)
        contents = local_contents(core)
        listing = await stack.enter_async_context(open_listing(core, "origin"))
        nodes = listing.directory.web_origins
        dicomweb = dicomweb_app(services_of(core, contents, store, remove), settings, core.gate, nodes)
        admin = Admin(settings.home, core.packs, core.catalogue, background)
        routes = [
            *api_routes(ApiServices(admin, core.freshness, core.sql, core.cpu), core.gate, Addresses(settings)),
            *sync_routes(sync_services(core, contents, feed, takes, making=partial(_making, core)), core.gate),
            *directory_routes(listing, core.gate),
            *node_routes(core, "origin"),
        ]
        yield NodeApp(activity.watch(dicomweb), routes, nodes), core.metrics


@asynccontextmanager
async def _taking_in(
    core: Core, on_commit: Callable[[], None], in_use: StudiesInUse | None = None
) -> AsyncIterator[TakesIn]:
    """Open what takes objects in; it finishes what was begun."""
    settings = core.settings
    ingest = Ingest(
        core.packs,
        core.catalogue,
        core.metrics,
        limits=core.limits,
        threads=settings.ingest_threads,
        on_commit=on_commit,
        in_use=in_use,
    )
    try:
        await core.disk.run(remove_leftovers, settings.home / "spool")
        spool = Spool(settings.home / "spool", spool_limits(settings))
        yield TakesIn(ingest, spool, core.freshness, settings.max_header_bytes)
    finally:
        await core.disk.run(ingest.close)


def _background(core: Core, activity: Activity) -> Background:
    """Start what an archive makes of its instances when nobody waits."""
    consumers: list[Consumer[Any]] = [PixelDigests(core.catalogue)]
    if core.settings.renditions:
        consumers.append(Renditions(core.catalogue, core.packs))
    if core.settings.perceptual:
        consumers.append(PerceptualHashes(core.catalogue, core.packs))
    return Background(core.catalogue, core.packs, consumers, core.metrics, is_busy=activity.is_busy)


def _making(core: Core) -> bool:
    return core.settings.renditions and core.catalogue.lag(Renditions.name) > 0


@asynccontextmanager
async def open_edge(settings: Settings) -> AsyncIterator[tuple[ASGIApp, Metrics]]:
    """Open an edge: it follows its upstream, and serves what it holds when that is away."""
    async with open_core(settings, "edge", KeptStore) as core, AsyncExitStack() as stack:
        feed = FeedWatch(core.catalogue, core.sql)
        outbox = await core.sql.run(Outbox, settings.home, core.catalogue, SystemClock(), core.metrics)
        stack.push_async_callback(core.sql.run, outbox.close)
        in_use = StudiesInUse()
        listing = await stack.enter_async_context(open_listing(core, "edge"))
        nodes = listing.directory.web_origins
        edge = Edge(
            settings,
            _kept(core, outbox, in_use),
            Part10Edits(),
            listing.directory,
            node_name=core.node_name,
            local_epoch=core.epoch,
            nudge=feed.nudge,
        )
        gate = edge.gate(core.gate)
        takes = await _taking_in_at(edge, core, feed, in_use, stack) if settings.stores == "local" else None
        store = None if takes is None else Store(takes.ingest, takes.spool, core.limits, settings.max_rejected_parts)
        sync = sync_services(core, edge.contents, feed, takes, edge.study_opened)
        checks = {
            "upstream": upstream_check(lambda: edge.upstream.is_reachable, lambda: edge.follower.is_refused),
            "outbox": outbox_check(outbox, core.sql, settings.outbox_patience_s),
        }
        routes = [
            edge_status(core, edge, outbox),
            *edge_routes(edge.tiering, core.gate),
            *outbox_routes(outbox, core.sql, gate, edge.forwarder.try_now),
            *segment_routes(Segments(SystemClock()), core.gate),
            *sync_routes(sync, gate),
            *directory_routes(listing, core.gate),
            *node_routes(core, "edge", checks),
        ]
        dicomweb = dicomweb_app(services_of(core, edge.contents, store, None), settings, gate, nodes)
        app = NodeApp(edge.storing(dicomweb, Addresses(settings)), routes, nodes, not_at_an_edge)
        await edge.start()
        try:
            yield edge.front(app, gate), core.metrics
        finally:
            await edge.stop()
            await feed.close()


async def _taking_in_at(
    edge: Edge, core: Core, feed: FeedWatch, in_use: StudiesInUse, stack: AsyncExitStack
) -> TakesIn:
    loop = asyncio.get_running_loop()

    def committed() -> None:
        loop.call_soon_threadsafe(edge.forwarder.wake)
        loop.call_soon_threadsafe(feed.nudge)

    return await stack.enter_async_context(_taking_in(core, committed, in_use))


async def not_at_an_edge(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"].startswith("/api/"):
        words = "an edge has no such thing: conflicts, versions and reports are looked after at the origin; ask it"
        await problem(404, "Not Found", words)(scope, receive, send)
    else:
        await unknown(scope, receive, send)


def edge_status(core: Core, edge: Edge, outbox: Outbox) -> Route:
    """Return the route that says how an edge stands: its store and feed, its upstream, and what came from there."""

    async def answer(request: Request) -> Response:
        stats = await core.disk.run(core.packs.stats)
        state = await core.sql.run(node_status, "edge", core.settings.home, core.catalogue, stats)
        state["upstream"], state["moved"] = edge.upstream_status(), edge.moved()
        state["tiers"] = edge.tiering.status()
        state["outbox"] = await core.sql.run(outbox_status, outbox)
        return JSONResponse(state, headers={"Cache-Control": "no-store"})

    return Route("/api/status", answer)


def _kept(core: Core, outbox: Outbox, in_use: StudiesInUse) -> Kept:
    assert isinstance(core.packs, KeptStore)  # noqa: S101 - an edge opens no other
    return Kept(
        home=core.settings.home,
        scratch=core.scratch,
        store=core.packs,
        catalogue=core.catalogue,
        manifests=core.manifests,
        freshness=core.freshness,
        sql=core.sql,
        disk=core.disk,
        sync=core.sync,
        cpu=core.cpu,
        metrics=core.metrics,
        outbox=outbox,
        in_use=in_use,
    )


def spool_limits(settings: Settings) -> SpoolLimits:
    return SpoolLimits(
        threshold_bytes=settings.spool_memory_threshold,
        memory_bytes=settings.ingest_memory_bytes,
        reserve_bytes=settings.kept_free_bytes,
        max_instance_bytes=settings.max_instance_bytes,
    )
