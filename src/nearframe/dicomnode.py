"""DICOM associations as part of a node: its services, behind the listener that the settings name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

from nearframe import log
from nearframe.clock import SystemClock
from nearframe.context import local_admin
from nearframe.core import Core
from nearframe.dicomweb.services import Services
from nearframe.dimse import forward_box
from nearframe.dimse.forward_box import ForwardBox
from nearframe.dimse.forward_rules import ForwardRule
from nearframe.dimse.forwarder import DICOMForwarder, forward_check
from nearframe.dimse.scu import Peer
from nearframe.dimse.service import Diverting, Served, open_service, to_nobody
from nearframe.intake.serieswatch import CONSUMER, SeriesWatch
from nearframe.listener.address import demand_loopback
from nearframe.query.commitment import CommitmentService
from nearframe.query.health import WELL, Check, Finding
from nearframe.query.listings import Listings
from nearframe.query.search import SearchService
from nearframe.query.steps import StepService
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.commitments import Commitments
from nearframe.storage.catalogue.steps import Steps
from nearframe.sync.services import TakesIn

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Workflow:
    """What scanners are told, and tell, besides objects; and what is made of it."""

    series: SeriesWatch
    commitment: CommitmentService
    steps: StepService


@asynccontextmanager
async def open_workflow(core: Core, on_event: Callable[[], object] = lambda: None) -> AsyncIterator[Workflow]:
    """Open it; one process of the archive watches the ends of series.

    Parameters
    ----------
    on_event
        Called from any thread when the outbox has an event that no commit told of.
    """
    commitments, steps = Commitments(core.catalogue.database), Steps(core.catalogue.database)
    # Made known before anything is taken in: events that every known consumer has passed go.
    await core.sql.run(core.catalogue.outbox, CONSUMER, 0)
    lists = Listings(commitments, steps)
    series = SeriesWatch(core.catalogue, lists, core.sql, SystemClock(), core.metrics, on_event)

    def told() -> None:
        series.wake()
        on_event()

    core.duties.add(CONSUMER, series.watching)
    core.on_news.append(series.wake)
    yield Workflow(
        series,
        CommitmentService(core.catalogue, commitments, on_ask=told),
        StepService(core.catalogue, steps, on_completed=told),
    )


@asynccontextmanager
async def open_dicom(
    core: Core,
    services: Services,
    takes: TakesIn | None,
    workflow: Workflow,
    announce: Callable[[str], None],
    answering: Callable[[], AbstractContextManager[None]] = nullcontext,
    diverted: Diverting = to_nobody,
) -> AsyncIterator[None]:
    """Listen for DICOM associations, if the settings say where.

    Parameters
    ----------
    announce
        Told where, in words, once that is so.
    answering
        Held while a peer is being answered.
    diverted
        See `Served`.
    """
    settings = core.settings
    if settings.dicom is None:
        yield
        return
    demand_loopback("--dicom", settings.dicom)
    served = Served(
        search=SearchService(core.catalogue, settings.search_limit),
        records=services.records,
        instances=services.instances,
        workers=core.sql,
        freshness=core.freshness,
        spool=takes.spool if takes else None,
        ingest=takes.ingest if takes else None,
        series=workflow.series,
        commitment=workflow.commitment,
        steps=workflow.steps,
        answering=answering,
        diverted=diverted,
    )
    # Until custody lands: whoever associates is a process of this machine.
    service = open_service(settings, served, core.metrics, lambda session: local_admin(settings.tenant))
    core.duties.add(
        "commitment-reports", lambda catalogue: service.committer.delivering(Commitments(catalogue.database))
    )
    await service.start(settings.dicom)
    _log.info("dicom_listening", address=str(service.server.address), ae_title=settings.ae_title)
    announce(f"DICOM at {service.server.address} as {settings.ae_title}{' by TLS' if settings.dicom_tls_cert else ''}")
    try:
        yield
    finally:
        await service.stop(settings.stop_grace_s)


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What goes on to DICOM peers by rules.

    Attributes
    ----------
    wake
        To be called, from any thread, once something was recorded.
    checks
        Of its health.
    """

    wake: Callable[[], None]
    checks: Mapping[str, Check]


@asynccontextmanager
async def open_forwarding(
    core: Core, services: Services, rules: Sequence[ForwardRule], peers: Mapping[str, Peer]
) -> AsyncIterator[Forwarding]:
    """Forward what rules name to peers, by AE title. Rules that were taken away let what waits go on."""
    if not rules and not await core.sql.run(core.catalogue.passed, forward_box.CONSUMER):
        yield Forwarding(lambda: None, {})
        return
    desk = _ForwardDesk(core, services, rules, peers)
    core.duties.add(forward_box.CONSUMER, desk.forwarding)
    core.on_news.append(desk.wake)
    yield Forwarding(desk.wake, {"forward": desk.check})


class _ForwardDesk:
    """Forwards, while that is this process's to do."""

    def __init__(self, core: Core, services: Services, rules: Sequence[ForwardRule], peers: Mapping[str, Peer]) -> None:
        self._core = core
        self._services = services
        self._rules = rules
        self._peers = peers
        self._forwarder: DICOMForwarder | None = None
        self._check: Check | None = None

    def wake(self) -> None:
        if (forwarder := self._forwarder) is not None:
            forwarder.wake()

    async def check(self) -> Finding:
        """Check on what waits; whoever forwards tells of it."""
        return WELL if self._check is None else await self._check()

    @asynccontextmanager
    async def forwarding(self, catalogue: SQLCatalogue) -> AsyncIterator[None]:
        core, settings, clock = self._core, self._core.settings, SystemClock()
        shared = catalogue.database if catalogue.database.is_shared else None
        box = await core.sql.run(ForwardBox, settings.home, catalogue, self._rules, clock, core.metrics, shared)
        forwarder = DICOMForwarder(
            box,
            catalogue,
            self._services.instances,
            self._peers,
            workers=core.sql,
            metrics=core.metrics,
            clock=clock,
        )
        forwarder.start()
        self._forwarder, self._check = forwarder, forward_check(box, core.sql, settings.forward_patience_s)
        try:
            yield
        finally:
            self._forwarder = self._check = None
            await forwarder.stop()
            await core.sql.run(box.close)
