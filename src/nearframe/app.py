"""The composition root of an origin, and what every node answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from nearframe.clock import SystemClock
from nearframe.config import Settings
from nearframe.core import Core, OpenStore, directory_of, frames_of, open_core, open_origin_store
from nearframe.corrections.service import CorrectionService
from nearframe.dicomnode import open_dicom, open_forwarding, open_workflow
from nearframe.dicomweb.address import Addresses, is_dicomweb
from nearframe.dicomweb.app import dicomweb_app
from nearframe.dicomweb.boundary import unknown
from nearframe.dicomweb.cors import CORS, READING
from nearframe.dicomweb.frameservices import FrameServices
from nearframe.dicomweb.ports import RemoveService, StoreService
from nearframe.dicomweb.problems import problem
from nearframe.dicomweb.services import Services, services
from nearframe.dimse.forward_rules import read_rules
from nearframe.dimse.peers import callable_peers, read_peers
from nearframe.dimse.worklist_http import DESCRIBED as WORKLIST_DESCRIBED
from nearframe.dimse.worklist_http import worklist_routes
from nearframe.hl7.http import DESCRIBED as HL7_DESCRIBED
from nearframe.hl7.http import hl7_routes
from nearframe.hl7.service import HL7Listener
from nearframe.hl7.service import Served as HL7Served
from nearframe.intake.ingest import Ingest
from nearframe.intake.inuse import StudiesInUse
from nearframe.intake.spool import Spool, SpoolLimits
from nearframe.intake.store import Store
from nearframe.keeping import DESCRIBED as KEEPING_DESCRIBED
from nearframe.keeping import open_keeping
from nearframe.listener import LEAVING
from nearframe.metrics import CONTENT_TYPE, Metrics
from nearframe.origin.activity import Activity
from nearframe.origin.admin import Admin
from nearframe.origin.api import ApiServices, api_routes, described
from nearframe.origin.background import Background, BackgroundWork, Consumer
from nearframe.origin.perceptual_hashes import PerceptualHashes
from nearframe.origin.pixel_digests import PixelDigests
from nearframe.origin.renditions import Renditions
from nearframe.query.commitment import CommitmentService
from nearframe.query.contents import ContentReader, LocalContents
from nearframe.query.deltas import Deltas
from nearframe.query.feedwatch import FeedWatch
from nearframe.query.headeredits import Part10Edits
from nearframe.query.health import (
    Check,
    bucket_check,
    catalogue_check,
    contents_check,
    disk_check,
    examine,
    free_bytes,
    high_mark,
    upkeep_check,
)
from nearframe.query.remove import CatalogueRemoval
from nearframe.query.steps import StepService
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.hl7messages import HL7Messages
from nearframe.storage.catalogue.purging import Purging
from nearframe.storage.objects import ObjectStore
from nearframe.storage.scratch import remove_leftovers
from nearframe.sync.app import DESCRIBED as SYNC_DESCRIBED
from nearframe.sync.app import sync_routes
from nearframe.sync.directory import Directory, Role
from nearframe.sync.directory_health import NodeHealth
from nearframe.sync.directory_http import DESCRIBED as DIRECTORY_DESCRIBED
from nearframe.sync.directory_http import Listing, directory_routes
from nearframe.sync.recipebook import RecipeBook
from nearframe.sync.services import SyncServices, TakesIn
from nearframe.upkeep.duties import duties_check
from nearframe.upkeep.http import DESCRIBED as UPKEEP_DESCRIBED
from nearframe.upkeep.http import upkeep_routes
from nearframe.web import viewer
from nearframe.web.pages import Pages


def services_of(
    core: Core,
    frames: FrameServices,
    store: StoreService | None,
    remove: RemoveService | None,
    commitment: CommitmentService | None = None,
) -> Services:
    """Put the services together that DICOMweb serves, given those of frames."""
    return services(
        core.catalogue,
        frames,
        core.settings,
        limits=core.limits,
        freshness=core.freshness,
        sql=core.sql,
        cpu=core.cpu,
        store=store,
        remove=remove,
        commitment=commitment,
    )


def sync_services(
    core: Core,
    contents: ContentReader,
    feed: FeedWatch,
    takes: TakesIn | None,
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
        takes=takes,
        recipes=RecipeBook(contents, core.packs, core.manifests, core.cpu) if core.settings.recipes else None,
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
        self._others = others_app(routes, nodes, unknown)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_dicomweb(scope["path"]):
            await self._dicomweb(scope, receive, send)
        else:
            await self._others(scope, receive, send)


def others_app(routes: Iterable[BaseRoute], nodes: Callable[[], Container[str]], unknown: ASGIApp = unknown) -> ASGIApp:
    """Return what answers beside DICOMweb."""
    return CORS(Router(list(routes), redirect_slashes=False, default=unknown), (), nodes, READING)


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
        "disk": disk_check(core.settings.home, core.settings.kept_free_bytes, high_mark(core.settings), core.disk),
        "upkeep": upkeep_check(core.upkeep.book.failures),
        **(checks or {}),
    }

    async def health(request: Request) -> Response:
        found = await examine(examined)
        return JSONResponse(found.as_json(), found.http_status, {"Cache-Control": "no-store"})

    async def ready(request: Request) -> Response:
        found = await examine({"catalogue": examined["catalogue"]})
        leaving = request.scope.get(LEAVING)
        takes = found.http_status == HTTPStatus.OK and not (leaving is not None and leaving.is_set())
        status = HTTPStatus.OK if takes else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"ready": takes}, status, {"Cache-Control": "no-store"})

    async def metrics(request: Request) -> Response:
        return Response(await core.metrics.shown(), media_type=CONTENT_TYPE)

    settings = core.settings
    pages = Pages(role, viewer_folder or viewer.installed(), settings.browser_cache, settings.browser_cache_bytes)
    own = [Route("/healthz", health), Route("/ready", ready), Route("/metrics", metrics)]
    return [*own, *upkeep_routes(core.upkeep, core.gate), *pages.routes()]


@asynccontextmanager
async def open_listing(core: Core, role: Role, directory: Directory) -> AsyncIterator[Listing]:
    """Open the list of nodes that clients are told."""
    health = NodeHealth(SystemClock(), core.settings.upstream_ca)
    try:
        yield Listing(core.settings, role, core.node_name, directory, health)
    finally:
        await health.close()


def local_contents(core: Core) -> LocalContents:
    """Return the reader of this node's own packs."""
    return LocalContents(core.packs, core.disk)


@asynccontextmanager
async def open_origin(
    settings: Settings,
    announce: Callable[[str], None] = lambda what: None,
    open_store: OpenStore = open_origin_store,
) -> AsyncIterator[tuple[ASGIApp, Metrics]]:
    """Open an origin: the archive. The value is what it answers, and its metrics.

    Parameters
    ----------
    announce
        Told what else than HTTP it can be reached by, and where.
    open_store
        Opens what keeps contents.
    """
    async with open_core(settings, "origin", open_store) as core, AsyncExitStack() as stack:
        activity = Activity()
        background = _background(core, activity)
        await core.sql.run(background.enrol)
        core.duties.add("background", background.running)
        feed = FeedWatch(core.catalogue, core.sql)
        stack.push_async_callback(feed.close)
        workflow = await stack.enter_async_context(open_workflow(core, background.wake))
        loop = asyncio.get_running_loop()
        wakes: list[Callable[[], object]] = [background.wake, workflow.series.wake]
        wakes.append(lambda: loop.call_soon_threadsafe(feed.nudge))
        core.on_news.extend((background.wake, feed.nudge))

        def committed() -> None:
            for wake in wakes:
                wake()

        takes = await stack.enter_async_context(taking_in(core, committed))
        store = Store(takes.ingest, takes.spool, core.limits, settings.max_rejected_parts)
        contents = local_contents(core)
        frames = frames_of(core, contents)
        allowed = settings.delete_policy == "remove"
        remove = CatalogueRemoval(core.catalogue, frames.records, core.sql, core.freshness, allowed=allowed)
        directory = directory_of(core)
        listing = await stack.enter_async_context(open_listing(core, "origin", directory))
        nodes = directory.web_origins
        beside = (
            *described(), *WORKLIST_DESCRIBED, *KEEPING_DESCRIBED, *HL7_DESCRIBED, *UPKEEP_DESCRIBED,
            *SYNC_DESCRIBED, *DIRECTORY_DESCRIBED,
        )  # fmt: skip
        served = services_of(core, frames, store, remove, workflow.commitment)
        dicomweb = dicomweb_app(served, settings, core.gate, nodes, beside)
        rules = read_rules(settings.forward, read_peers(settings.peers))
        forwarding = await stack.enter_async_context(open_forwarding(core, served, rules, callable_peers(settings)))
        wakes.append(forwarding.wake)
        await stack.enter_async_context(open_dicom(core, served, takes, workflow, announce, activity.answering))
        keeping = open_keeping(core, takes, committed)
        heard = HL7Messages(core.catalogue.database)
        if settings.hl7 is not None:
            through = partial(_hl7_through, keeping.correcting, workflow.steps)
            listener = HL7Listener(settings, settings.hl7, through, core.metrics, announce)
            core.duties.add("hl7", listener.listening)
        admin = Admin(settings, core.packs, core.catalogue, keeping.corrections, background, core.duties)
        routes = [
            *api_routes(ApiServices(admin, core.freshness, core.sql, core.cpu), core.gate, Addresses(settings)),
            *keeping.routes,
            *worklist_routes(workflow.steps, core.sql, core.gate, Addresses(settings)),
            *hl7_routes(heard, core.sql, core.gate, Addresses(settings)),
            *sync_routes(replace(sync_services(core, contents, feed, takes), making=partial(_making, core)), core.gate),
            *directory_routes(listing, core.gate),
            *node_routes(core, "origin", {**forwarding.checks, **_own_checks(core)}),
        ]
        # Last, so that it ends first: it uses the rest.
        await stack.enter_async_context(core.duties.doing())
        yield NodeApp(activity.watch(seeing_latest(core, dicomweb)), routes, nodes), core.metrics


def _hl7_through(correcting: CorrectionService, steps: StepService, catalogue: SQLCatalogue) -> HL7Served:
    known = HL7Messages(catalogue.database)
    return HL7Served(catalogue, correcting.through(catalogue), steps.through(catalogue), known)


def seeing_latest(core: Core, app: ASGIApp) -> ASGIApp:
    """Return `app`, each of its requests answered by what was committed before it came."""
    sees_latest = core.sees_latest
    if sees_latest is None:
        return app

    async def seeing(scope: Scope, receive: Receive, send: Send) -> None:
        await sees_latest()
        await app(scope, receive, send)

    return seeing


@asynccontextmanager
async def taking_in(
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


def _background(core: Core, activity: Activity) -> BackgroundWork:
    """Return what an archive makes of its instances when nobody waits."""

    def consumers(catalogue: SQLCatalogue) -> list[Consumer[Any]]:
        found: list[Consumer[Any]] = [PixelDigests(catalogue)]
        if core.settings.renditions:
            found.append(Renditions(catalogue, core.packs, Purging(catalogue).doubt))
        if core.settings.perceptual:
            found.append(PerceptualHashes(catalogue, core.packs))
        return found

    def start(catalogue: SQLCatalogue) -> Background:
        room = partial(_room_above_mark, core.settings)
        return Background(
            catalogue, core.packs, consumers(catalogue), core.metrics, is_busy=activity.is_busy, room=room
        )

    names = [consumer.name for consumer in consumers(core.catalogue)]
    return BackgroundWork(names, start, core.catalogue, core.metrics, core.disk)


def _room_above_mark(settings: Settings) -> int:
    return free_bytes(settings.home) - high_mark(settings)


def _own_checks(core: Core) -> dict[str, Check]:
    """Return the checks of an origin's own health: its bucket, if it has one, and the work it shares with others."""
    store = core.packs
    own = {
        "duties": duties_check(core.duties, core.sql),
        "contents": contents_check(core.upkeep.lost, core.disk),
    }
    return own | ({"bucket": bucket_check(store.look, core.disk)} if isinstance(store, ObjectStore) else {})


def _making(core: Core) -> bool:
    return core.settings.renditions and core.catalogue.lag(Renditions.name) > 0


async def not_at_an_edge(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"].startswith("/api/"):
        words = "not at an edge: conflicts, corrections, versions and reports are looked after at the origin; ask it"
        await problem(404, "Not Found", words)(scope, receive, send)
    else:
        await unknown(scope, receive, send)


def spool_limits(settings: Settings) -> SpoolLimits:
    return SpoolLimits(
        threshold_bytes=settings.spool_memory_threshold,
        memory_bytes=settings.ingest_memory_bytes,
        reserve_bytes=settings.kept_free_bytes,
        max_instance_bytes=settings.max_instance_bytes,
    )
