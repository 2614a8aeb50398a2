"""The composition root of an edge in front of an archive that is none of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from nearframe.app import NodeApp, node_routes, not_at_an_edge, open_listing, services_of, spool_limits, sync_services
from nearframe.clock import Clock, SystemClock
from nearframe.config import Settings
from nearframe.core import Core, directory_of, frames_of, open_core, packs_of
from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.app import dicomweb_app
from nearframe.dimse.peers import peer_named, with_peer
from nearframe.edge.front import RemembersVia
from nearframe.edge.keptstore import KeptStore
from nearframe.edge.pacs.dicomarchive import DICOMArchive
from nearframe.edge.pacs.node import PacsEdge, PacsKept
from nearframe.edge.pacs.passing import Passing
from nearframe.edge.pacs.webarchive import WebArchive
from nearframe.edge.upstream import Upstream
from nearframe.errors import ConfigurationError
from nearframe.intake.spool import Spool
from nearframe.metrics import Metrics
from nearframe.pacsapp.dicom import open_taking_in
from nearframe.pacsapp.parts import Parts
from nearframe.query.feedwatch import FeedWatch
from nearframe.query.health import upstream_check
from nearframe.query.status import node_status
from nearframe.storage.scratch import remove_leftovers
from nearframe.sync.app import sync_routes
from nearframe.sync.directory_http import directory_routes


@asynccontextmanager
async def open_pacs_edge(
    settings: Settings, announce: Callable[[str], None] = lambda what: None
) -> AsyncIterator[tuple[ASGIApp, Metrics]]:
    """Open an edge that keeps what is opened of an archive. The value is what it answers, and its metrics.

    Parameters
    ----------
    announce
        Told what else than HTTP it can be reached by, and where.

    Raises
    ------
    ConfigurationError
        If the settings want of it what only an edge of an archive of ours does.
    """
    settings = _checked(settings)
    async with open_core(settings, "edge", packs_of(KeptStore)) as core, AsyncExitStack() as stack:
        directory = directory_of(core)
        listing = await stack.enter_async_context(open_listing(core, "edge", directory))
        feed = FeedWatch(core.catalogue, core.sql)
        await core.disk.run(remove_leftovers, settings.home / "spool")
        kept = PacsKept(
            home=settings.home,
            store=core.packs,
            catalogue=core.catalogue,
            freshness=core.freshness,
            spool=Spool(settings.home / "spool", spool_limits(settings)),
            limits=core.limits,
            sql=core.sql,
            disk=core.disk,
            metrics=core.metrics,
        )
        clock = SystemClock()
        archive = _archive(core, clock)
        edge = PacsEdge(settings, archive, kept, core.gate, nudge=feed.nudge, clock=clock)
        sync = replace(sync_services(core, edge.contents, feed, None), wanted=edge.study_wanted)
        frames = frames_of(core, edge.contents)
        if isinstance(archive, DICOMArchive):
            parts = await stack.enter_async_context(open_taking_in(core, archive, edge, frames, feed, announce))
        else:
            passing = Passing(archive, core.gate, Addresses(settings))
            parts = Parts(services_of(core, frames, None, None), passing)
        upstream = upstream_check(lambda: edge.watch.is_reachable, lambda: edge.watch.problem)
        routes = [
            _status(core, edge),
            *parts.routes,
            *sync_routes(sync, core.gate),
            *directory_routes(listing, core.gate),
            *node_routes(core, "edge", {"upstream": upstream, **parts.checks}),
        ]
        nodes = directory.web_origins
        dicomweb = dicomweb_app(parts.services, settings, core.gate, nodes, parts.described)
        edge.start()
        try:
            front = edge.wrap(dicomweb, parts.passing)
            yield RemembersVia(NodeApp(front, routes, nodes, not_at_an_edge)), core.metrics
        finally:
            await edge.stop()
            await feed.close()


def _checked(settings: Settings) -> Settings:
    """Return the settings, with the archive among the peers if it is one."""
    if len(settings.upstream) != 1:
        raise ConfigurationError("an edge before an archive needs one upstream: --upstream URL")
    if settings.dicom_upstream is not None:
        return with_peer(settings, peer_named(settings.dicom_upstream, settings))
    if settings.dicom is not None:
        raise ConfigurationError(
            f"--dicom {settings.dicom}: an edge before an archive that speaks DICOMweb alone takes no associations: "
            "it has no outbox to that archive, and shows only what was opened. Let devices send to the archive itself, "
            "or to an origin of ours (nearframe origin --dicom) that forwards to it"
        )
    return settings


def _status(core: Core, edge: PacsEdge) -> Route:
    """Return the route that says how the edge stands, and what came from the archive."""

    async def answer(request: Request) -> Response:
        stats = await core.disk.run(core.packs.stats)
        state = await core.sql.run(node_status, "edge", core.settings.home, core.catalogue, stats)
        state["upstream"], state["moved"] = edge.upstream_status(), edge.moved()
        return JSONResponse(state, headers={"Cache-Control": "no-store"})

    return Route("/api/status", answer)


def _archive(core: Core, clock: Clock) -> DICOMArchive | WebArchive:
    settings = core.settings
    if settings.dicom_upstream is not None:
        peer = peer_named(settings.dicom_upstream, settings).as_called_by(settings.ae_title)
        return DICOMArchive(peer, clock, core.metrics, str(settings.dicom or ""))
    ca = None if settings.upstream_ca is None else str(settings.upstream_ca)
    upstream = Upstream(settings.upstream[0], node_name=core.node_name, metrics=core.metrics, clock=clock, ca=ca)
    return WebArchive(upstream, clock, core.disk)
