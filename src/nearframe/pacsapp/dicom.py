"""What an edge does besides in front of an archive that speaks DICOM's own protocol.

It asks it for searches, takes objects in and forwards them to it, and brings priors ahead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from nearframe.app import services_of, taking_in
from nearframe.clock import SystemClock
from nearframe.context import local_admin
from nearframe.core import Core
from nearframe.dicom.model import DICOMJSON
from nearframe.dicomnode import open_dicom, open_forwarding, open_workflow
from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.frameservices import FrameServices
from nearframe.dimse.association import Message
from nearframe.dimse.command import Field
from nearframe.dimse.forward_rules import ForwardRule
from nearframe.dimse.peers import peer_named
from nearframe.dimse.scp import Operation, Session
from nearframe.dimse.scp_worklist import MODALITY_WORKLIST_FIND
from nearframe.dimse.scu import UNCOMPRESSED, associate
from nearframe.dimse.scu_query import find
from nearframe.dimse.worklist_http import DESCRIBED, worklist_routes
from nearframe.edge.pacs.dicomarchive import DICOMArchive
from nearframe.edge.pacs.dicomsearch import DICOMSearch
from nearframe.edge.pacs.node import PacsEdge
from nearframe.edge.pacs.priors import Priors, Worklist
from nearframe.edge.pacs.wanted import Body
from nearframe.intake.store import Store
from nearframe.pacsapp.parts import Parts
from nearframe.query.feedwatch import FeedWatch
from nearframe.query.search import SearchService
from nearframe.query.searches import Searches
from nearframe.query.steps import StepService


@asynccontextmanager
async def open_taking_in(
    core: Core,
    archive: DICOMArchive,
    edge: PacsEdge,
    frames: FrameServices,
    feed: FeedWatch,
    announce: Callable[[str], None],
) -> AsyncIterator[Parts]:
    """Open it: what is stored here goes on to the archive, and what that sends goes to who waits for it."""
    settings, peer = core.settings, archive.contact.peer
    loop = asyncio.get_running_loop()
    wakes: list[Callable[[], object]] = [lambda: loop.call_soon_threadsafe(feed.nudge)]

    def committed() -> None:
        for wake in wakes:
            wake()

    async def unasked(sop_instance_uid: str, body: Body) -> None:
        await edge.mirror.take(settings.tenant, sop_instance_uid, body)

    def of_archive(session: Session, message: Message) -> Operation | None:
        # Some send from another title than they are called by, and name who asked for it.
        is_moved = message.command.text(Field.MOVE_ORIGINATOR_AE_TITLE) == settings.ae_title
        is_awaited = is_moved and archive.retrievals.awaits(message.command.sop_instance_uid)
        return archive.retrievals.store if is_awaited or session.association.peer_ae_title == peer.ae_title else None

    archive.retrievals.unasked = unasked
    search = DICOMSearch(archive, edge.mirror, settings.search_limit)
    here = SearchService(core.catalogue, settings.search_limit)
    rules, peers = (ForwardRule(peer.ae_title),), {peer.ae_title: peer}
    async with open_workflow(core) as workflow, taking_in(core, committed) as takes:
        store = Store(takes.ingest, takes.spool, core.limits, settings.max_rejected_parts)
        services = replace(
            services_of(core, frames, store, None, workflow.commitment),
            searches=Searches(here, core.sql, core.freshness, asking=search.ask),
        )
        async with (
            open_forwarding(core, services, rules, peers) as forwarding,
            open_dicom(core, services, takes, workflow, announce, diverted=of_archive),
            core.duties.doing(),
        ):
            wakes += [forwarding.wake, workflow.series.wake]
            edge.priors = Priors(
                archive,
                edge.mirror,
                _worklists(core, workflow.steps),
                settings.tenant,
                settings.prior_studies,
                SystemClock(),
                core.metrics,
            )
            routes = worklist_routes(workflow.steps, core.sql, core.gate, Addresses(settings))
            yield Parts(services, None, routes, DESCRIBED, forwarding.checks)


def _worklists(core: Core, steps: StepService) -> list[Worklist]:
    """Return who knows today's patients."""
    settings = core.settings
    if settings.push == "none":
        return []

    async def own(keys: DICOMJSON) -> list[DICOMJSON]:
        return await core.sql.run(lambda: list(steps.worklist(local_admin(settings.tenant), keys)))

    if not settings.worklist:
        return [own]
    peer = peer_named(settings.worklist, settings).as_called_by(settings.ae_title)

    async def told(keys: DICOMJSON) -> list[DICOMJSON]:
        async with (
            associate(peer, [(MODALITY_WORKLIST_FIND, UNCOMPRESSED)]) as user,
            aclosing(find(user.requests, MODALITY_WORKLIST_FIND, keys)) as items,
        ):
            return [item async for item in items]

    return [told]
