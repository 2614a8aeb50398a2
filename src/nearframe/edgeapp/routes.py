"""What an edge answers besides the frames it holds: put together while those are served already."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from nearframe.app import (
    node_routes,
    not_at_an_edge,
    open_listing,
    others_app,
    services_of,
    sync_services,
    taking_in,
)
from nearframe.cache.segments import Segments
from nearframe.clock import SystemClock
from nearframe.core import Core
from nearframe.dicomnode import Workflow, open_dicom, open_workflow
from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.app import dicomweb_router
from nearframe.dimse.worklist_http import DESCRIBED as WORKLIST_DESCRIBED
from nearframe.dimse.worklist_http import worklist_routes
from nearframe.edge.api import DESCRIBED as EDGE_DESCRIBED
from nearframe.edge.api import edge_routes
from nearframe.edge.node import Edge
from nearframe.edge.outbox import Outbox
from nearframe.edge.outbox_http import DESCRIBED as OUTBOX_DESCRIBED
from nearframe.edge.outbox_http import outbox_check, outbox_routes, outbox_status
from nearframe.edge.segments import segment_routes
from nearframe.edgeapp.opened import Opened
from nearframe.intake.store import Store
from nearframe.query.health import upstream_check
from nearframe.query.status import node_status
from nearframe.sync.app import DESCRIBED as SYNC_DESCRIBED
from nearframe.sync.app import sync_routes
from nearframe.sync.directory_http import DESCRIBED as DIRECTORY_DESCRIBED
from nearframe.sync.directory_http import directory_routes
from nearframe.sync.services import TakesIn
from nearframe.upkeep.http import DESCRIBED as UPKEEP_DESCRIBED

_BESIDE: Final = (
    *EDGE_DESCRIBED, *OUTBOX_DESCRIBED, *WORKLIST_DESCRIBED, *UPKEEP_DESCRIBED, *SYNC_DESCRIBED, *DIRECTORY_DESCRIBED,
)  # fmt: skip


class EdgeRoutes(NamedTuple):
    """DICOMweb but for the short way to frames, and everything beside DICOMweb."""

    dicomweb: ASGIApp
    others: ASGIApp


async def open_routes(opened: Opened, stack: AsyncExitStack) -> EdgeRoutes:
    """Open what else an edge answers; `stack` closes it."""
    core, edge, outbox = opened.core, opened.edge, opened.outbox
    settings, gate = core.settings, opened.gate
    workflow = await stack.enter_async_context(open_workflow(core))
    takes = await _taking_in(opened, stack, workflow) if settings.stores == "local" else None
    store = None if takes is None else Store(takes.ingest, takes.spool, core.limits, settings.max_rejected_parts)
    sync = replace(
        sync_services(core, edge.contents, opened.feed, takes),
        followed=lambda: edge.upstreams.current.came_through,
        opened=edge.study_opened,
        archived=edge.archived,
    )
    checks = {
        "upstream": upstream_check(lambda: edge.upstreams.is_reachable, lambda: edge.follower.problem),
        "outbox": outbox_check(outbox, core.sql, settings.outbox_patience_s),
    }
    listing = await stack.enter_async_context(open_listing(core, "edge", opened.directory))
    routes = [
        edge_status(core, edge, outbox),
        *edge_routes(edge.tiering, core.gate),
        *outbox_routes(outbox, core.sql, gate, edge.forwarder.try_now),
        *worklist_routes(workflow.steps, core.sql, gate, Addresses(settings)),
        *segment_routes(Segments(SystemClock()), core.gate),
        *sync_routes(sync, gate),
        *directory_routes(listing, core.gate),
        *node_routes(core, "edge", checks),
    ]
    served = services_of(core, opened.frames, store, None, workflow.commitment)
    await stack.enter_async_context(open_dicom(core, served, takes, workflow, opened.announce))
    await stack.enter_async_context(core.duties.doing())
    edge.renew = served.metadata.renew
    return EdgeRoutes(
        dicomweb_router(served, settings, gate, _BESIDE),
        others_app(routes, opened.directory.web_origins, not_at_an_edge),
    )


async def _taking_in(opened: Opened, stack: AsyncExitStack, workflow: Workflow) -> TakesIn:
    loop = asyncio.get_running_loop()

    def committed() -> None:
        workflow.series.wake()
        loop.call_soon_threadsafe(opened.edge.forwarder.wake)
        loop.call_soon_threadsafe(opened.feed.nudge)

    return await stack.enter_async_context(taking_in(opened.core, committed, opened.in_use))


def edge_status(core: Core, edge: Edge, outbox: Outbox) -> Route:
    """Return the route that says how an edge stands: its store and feed, its upstream, and what came from there."""

    async def answer(request: Request) -> Response:
        stats = await core.disk.run(core.packs.stats)
        state = await core.sql.run(node_status, "edge", core.settings.home, core.catalogue, stats)
        state["upstream"], state["moved"] = edge.standing.upstream(), edge.standing.moved()
        state["tiers"] = edge.tiering.status()
        state["outbox"] = await core.sql.run(outbox_status, outbox)
        return JSONResponse(state, headers={"Cache-Control": "no-store"})

    return Route("/api/status", answer)
