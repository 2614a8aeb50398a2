"""An edge opened: ready for frames first, for everything else a moment later.

What is held can be shown once store, catalogue and tiers are open. Routes, pages, what takes
objects in, and the codecs and dictionaries behind them take longer to import than that: it is
done while frames are served already. A request for anything else waits until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from nearframe import tasks
from nearframe.clock import SystemClock
from nearframe.config import Settings
from nearframe.core import Core, directory_of, frames_of, open_core, packs_of
from nearframe.dicomweb.address import Addresses, is_dicomweb
from nearframe.dicomweb.cors import CORS
from nearframe.dicomweb.fastframes import FastFrames
from nearframe.edge.keptstore import KeptStore
from nearframe.edge.node import Edge, Kept
from nearframe.edge.outbox import Outbox
from nearframe.edgeapp.opened import Opened
from nearframe.intake.inuse import StudiesInUse
from nearframe.metrics import Metrics
from nearframe.query.feedwatch import FeedWatch
from nearframe.query.headeredits import Part10Edits

if TYPE_CHECKING:
    from nearframe.edgeapp.routes import EdgeRoutes


@asynccontextmanager
async def open_edge(
    settings: Settings, announce: Callable[[str], None] = lambda what: None
) -> AsyncIterator[tuple[ASGIApp, Metrics]]:
    """Open an edge: it follows its upstream, and serves what it holds when that is away.

    Parameters
    ----------
    announce
        Told what else than HTTP it can be reached by, and where.
    """
    async with open_core(settings, "edge", packs_of(KeptStore)) as core, AsyncExitStack() as stack:
        feed = FeedWatch(core.catalogue, core.sql)
        outbox = await core.sql.run(Outbox, settings.home, core.catalogue, SystemClock(), core.metrics)
        stack.push_async_callback(core.sql.run, outbox.close)
        in_use, directory = StudiesInUse(), directory_of(core)
        edge = Edge(
            settings,
            _kept(core, outbox, in_use),
            Part10Edits(),
            directory,
            node_name=core.node_name,
            local_epoch=core.epoch,
            nudge=feed.nudge,
        )
        frames = frames_of(core, edge.contents)
        gate = edge.gate(core.gate)
        await edge.open()
        opened = Opened(core, edge, gate, frames, directory, feed, outbox, in_use, announce)
        completing = tasks.spawn(_complete(opened, stack), name="complete edge")
        dicomweb = _Awaited(completing, lambda routes: routes.dicomweb)
        others = _Awaited(completing, lambda routes: routes.others)
        frames_first = FastFrames(dicomweb, frames, gate)
        stored_or_read = edge.storing(frames_first, Addresses(settings))

        async def below(scope: Scope, receive: Receive, send: Send) -> None:
            await (stored_or_read if is_dicomweb(scope["path"]) else others)(scope, receive, send)

        front = edge.front(below, gate, frames_first.held)
        cross_origin = CORS(front, settings.cors_origins, directory.web_origins)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            # What is beside DICOMweb says itself which pages may read it.
            await (cross_origin if is_dicomweb(scope["path"]) else front)(scope, receive, send)

        try:
            yield answer, core.metrics
        finally:
            await tasks.cancel([completing])
            await edge.stop()
            await feed.close()


class _Awaited:
    """An application that is part of something still being put together: requests wait for it."""

    def __init__(self, whole: asyncio.Task[EdgeRoutes], part: Callable[[EdgeRoutes], ASGIApp]) -> None:
        self._whole = whole
        self._part = part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Who stops waiting does not stop the others' waiting.
        await self._part(await asyncio.shield(self._whole))(scope, receive, send)


async def _complete(opened: Opened, stack: AsyncExitStack) -> EdgeRoutes:
    """Import and open what else an edge answers, then begin to follow."""
    open_routes = await opened.core.disk.run(_imported)
    routes = await open_routes(opened, stack)
    opened.edge.start()
    return routes


def _imported() -> Callable[[Opened, AsyncExitStack], Awaitable[EdgeRoutes]]:
    from nearframe.edgeapp.routes import open_routes

    return open_routes


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
