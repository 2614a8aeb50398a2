"""The composition root of an edge in front of an archive that speaks DICOMweb alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from nearframe.app import NodeApp, node_routes, not_at_an_edge, open_listing, services_of, spool_limits, sync_services
from nearframe.config import Settings
from nearframe.core import directory_of, frames_of, open_core, packs_of
from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.app import dicomweb_app
from nearframe.edge.front import RemembersVia
from nearframe.edge.keptstore import KeptStore
from nearframe.edge.pacs.node import PacsEdge, PacsKept
from nearframe.errors import ConfigurationError
from nearframe.intake.spool import Spool
from nearframe.metrics import Metrics
from nearframe.query.feedwatch import FeedWatch
from nearframe.query.health import upstream_check
from nearframe.query.status import node_status
from nearframe.storage.scratch import remove_leftovers
from nearframe.sync.app import sync_routes
from nearframe.sync.directory_http import directory_routes


@asynccontextmanager
async def open_pacs_edge(settings: Settings) -> AsyncIterator[tuple[ASGIApp, Metrics]]:
    """Open an edge that keeps what is opened of an archive. The value is what it answers, and its metrics.

    Raises
    ------
    ConfigurationError
        If the settings want of it what only an edge of an archive of ours does.
    """
    if settings.dicom is not None:
        raise ConfigurationError(
            f"--dicom {settings.dicom}: an edge before an archive that speaks DICOMweb alone takes no associations: "
            "it has no outbox to that archive, and shows only what was opened. Let devices send to the archive itself, "
            "or to an origin of ours (nearframe origin --dicom) that forwards to it"
        )
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
        edge = PacsEdge(settings, kept, core.gate, node_name=core.node_name, nudge=feed.nudge)
        sync = replace(sync_services(core, edge.contents, feed, None), wanted=edge.study_wanted)
        checks = {"upstream": upstream_check(lambda: edge.watch.is_reachable, lambda: edge.watch.problem)}

        async def status(request: Request) -> Response:
            stats = await core.disk.run(core.packs.stats)
            state = await core.sql.run(node_status, "edge", settings.home, core.catalogue, stats)
            state["upstream"], state["moved"] = edge.upstream_status(), edge.moved()
            return JSONResponse(state, headers={"Cache-Control": "no-store"})

        own = Route("/api/status", status)
        routes = [
            own,
            *sync_routes(sync, core.gate),
            *directory_routes(listing, core.gate),
            *node_routes(core, "edge", checks),
        ]
        nodes, frames = directory.web_origins, frames_of(core, edge.contents)
        dicomweb = dicomweb_app(services_of(core, frames, None, None), settings, core.gate, nodes)
        edge.start()
        try:
            front = edge.wrap(dicomweb, Addresses(settings))
            yield RemembersVia(NodeApp(front, routes, nodes, not_at_an_edge)), core.metrics
        finally:
            await edge.stop()
            await feed.close()
