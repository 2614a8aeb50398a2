"""An edge put together: what it follows, what it fetches, what it forwards."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp, Scope

from nearframe import tasks
from nearframe.clock import Clock, SystemClock
from nearframe.config import Settings
from nearframe.context import Urgency
from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.call import Gate
from nearframe.dicomweb.fastframes import HeldFrame
from nearframe.edge.announce import Announcer
from nearframe.edge.cursor import CursorFile
from nearframe.edge.exportahead import ExportAhead
from nearframe.edge.fetch import Fetcher
from nearframe.edge.follow import Follower
from nearframe.edge.forward import Forwarder, ForwardPace
from nearframe.edge.front import EdgeFront, HeldFirst, RemembersVia
from nearframe.edge.keptstore import AdmittedContents, KeptStore
from nearframe.edge.likenesses import Likenesses
from nearframe.edge.line import Line
from nearframe.edge.making import FrameMaker
from nearframe.edge.outbox import Outbox
from nearframe.edge.pace import Pace
from nearframe.edge.packing import Packer
from nearframe.edge.passthrough import PassStoresOn
from nearframe.edge.pull import StudyPuller
from nearframe.edge.readahead import ReadAhead
from nearframe.edge.reader import EdgeContentReader
from nearframe.edge.renditions import UpstreamRenditions
from nearframe.edge.replica import Replica
from nearframe.edge.standing import Standing
from nearframe.edge.studyindex import StudyIndexes
from nearframe.edge.tiering import Tiering
from nearframe.edge.upstream import Timeouts, Upstream, Upstreams
from nearframe.edge.urgency import UrgencyGate
from nearframe.errors import ConfigurationError, NearframeError
from nearframe.intake.inuse import StudiesInUse
from nearframe.metrics import Metrics
from nearframe.query.deltas import HeaderEdits
from nearframe.query.freshness import Freshness
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, StudyRef
from nearframe.storage.scratch import ScratchFolder
from nearframe.sync.directory import Directory, Listed
from nearframe.wire.offer import Offer, OfferedInstance, Stand

_RENDITIONS_PATIENCE_S: Final = 0.2
_STUDY_PATH: Final = re.compile(r"/studies/([^/]+)/")


@dataclass(frozen=True, slots=True)
class Kept:
    """What an edge keeps, and the threads to reach it."""

    home: Path
    scratch: ScratchFolder
    store: KeptStore
    catalogue: Catalogue
    manifests: Manifests
    freshness: Freshness
    sql: Workers
    disk: Workers
    sync: Workers
    cpu: Workers
    metrics: Metrics
    outbox: Outbox
    in_use: StudiesInUse


class Edge:
    """Follows an upstream and reads through it. For one event loop.

    Parameters
    ----------
    directory
        The nodes that clients are told of; this edge adds those that its upstream knows.
    node_name
        Who it is in ``Via``.
    nudge
        Told that something changed here: wakes those who follow this edge.

    Attributes
    ----------
    standing
        What it says of itself.
    renew
        Prepares what readers of a study ask for first; called when one changed that somebody reads.
    """

    def __init__(
        self,
        settings: Settings,
        kept: Kept,
        codec: HeaderEdits,
        directory: Directory,
        *,
        node_name: str,
        local_epoch: str,
        nudge: Callable[[], None],
        clock: Clock | None = None,
        timeouts: Timeouts | None = None,
        pace: Pace | None = None,
        forward_pace: ForwardPace | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self.renew: Callable[[StudyRef], Coroutine[Any, Any, None]] = _not_renewed
        self._settings = settings
        self._kept = kept
        self._nudge = nudge
        self.upstreams = _upstreams(settings, node_name, kept.metrics, clock, timeouts)
        itself = _as_clients_see(settings, node_name)
        self._announcer = Announcer(self.upstreams.ranked, directory, itself, settings.tenant)
        indexes = self._indexes = StudyIndexes(kept.catalogue, kept.freshness, kept.sql)
        replica = Replica(
            kept.catalogue, kept.store, kept.manifests, codec, kept.sync, kept.metrics, clock, kept.outbox, kept.in_use
        )
        puller = StudyPuller(replica, deltas=settings.deltas)
        self.tiering = Tiering(
            settings, kept.store, kept.catalogue, kept.manifests,
            sql=kept.sql, disk=kept.disk, metrics=kept.metrics, clock=clock,
            is_upstream=lambda study: not kept.outbox.is_waiting(study), in_use=kept.in_use, let_go=puller.let_go,
            is_reachable=lambda: self.upstreams.is_reachable,
        )  # fmt: skip
        admitted = AdmittedContents(kept.store, self.tiering.evictor.admits)
        fetcher = Fetcher(self.upstreams, admitted, kept.disk, kept.metrics, kept.scratch)
        self.read_ahead = ReadAhead(fetcher, kept.store, kept.disk) if settings.prefetch else None
        self.export_ahead = ExportAhead(fetcher, kept.store, kept.disk) if settings.prefetch else None
        self.tiering.fetching_by(fetcher, indexes, self._renditions_of)
        maker = FrameMaker(kept.cpu, kept.metrics)
        self.contents = EdgeContentReader(
            kept.store, fetcher, indexes, kept.disk, maker, kept.metrics, self.read_ahead, self.export_ahead
        )
        self._renditions = UpstreamRenditions(
            self.upstreams, kept.catalogue, kept.manifests, kept.sql, clock, kept.freshness.changed
        )
        self._likenesses = Likenesses(
            self.upstreams, kept.catalogue, kept.manifests, kept.sync, clock, self.tiering.allows_index
        )
        self._fetch_by_recipe: Callable[[], None] | None = None
        if settings.recipes:
            self._fetch_by_recipe = partial(self._by_recipe, fetcher, indexes, maker, clock)
        self.follower = Follower(
            self.upstreams,
            puller,
            CursorFile(kept.home),
            tenant=settings.tenant,
            local_epoch=local_epoch,
            workers=kept.disk,
            clock=clock,
            changed=self._changed,
            told=self.tiering.told,
            pace=pace,
        )
        self._packer = Packer(kept.catalogue, kept.store)
        self.forwarder = Forwarder(
            kept.outbox,
            self._packer,
            self.upstreams,
            puller,
            urgency_of=self._urgency_of,
            workers=kept.disk,
            metrics=kept.metrics,
            clock=clock,
            compared=self._compared,
            taken_in=self.tiering.changed,
            pace=forward_pace,
        )
        self.tiering.on_raise = self.forwarder.raised
        self.standing = Standing(self.upstreams, self.follower, kept.outbox, kept.sql, kept.metrics, self._urgency_of)

    async def open(self) -> None:
        """Read how urgent studies are: from then on what is held can be served."""
        await self.tiering.start()

    def start(self) -> None:
        """Begin to follow, to fetch ahead by recipe, and to forward."""
        if self._fetch_by_recipe is not None:
            self._fetch_by_recipe()
        self._renditions.start()
        if self.tiering.keeper.table.looks_at_index:
            self._likenesses.start(self._settings.tenant)
        self.upstreams.start()
        self.follower.start()
        self.forwarder.start()
        self._announcer.start()

    def _by_recipe(self, fetcher: Fetcher, indexes: StudyIndexes, maker: FrameMaker, clock: Clock) -> None:
        # With recipes come all codecs and NumPy: what is held is served before they are imported.
        from nearframe.edge.bases import HeldBases
        from nearframe.edge.byrecipe import RecipeFetch
        from nearframe.edge.recipesup import RecipesUp

        kept = self._kept
        likenesses = self._likenesses if self._settings.perceptual else None
        bases = HeldBases(kept.store, kept.manifests, indexes, kept.sync, clock, self._others_of, likenesses)
        self.forwarder.by_recipe = RecipesUp(
            self._packer, self.upstreams.line, kept.cpu, kept.metrics, self.tiering.allows_recipes
        )
        fetcher.recipes = RecipeFetch(
            self.upstreams,
            indexes,
            bases,
            kept.store,
            maker,
            kept.cpu,
            kept.metrics,
            clock,
            self.tiering.allows_recipes,
        )

    async def stop(self) -> None:
        """Stop following and fetching; what was begun is cut and done again another time."""
        await self._announcer.stop()
        await self.forwarder.stop()
        await self.follower.stop()
        await self._renditions.stop()
        await self._likenesses.stop()
        await self.tiering.stop()
        for ahead in (self.read_ahead, self.export_ahead):
            if ahead is not None:
                await ahead.stop()
        await self.upstreams.close()
        # Pulls that were cut may be writing still; whoever closes the store must not be quicker.
        for workers in (self._kept.sync, self._kept.disk, self._kept.sql):
            await workers.drained()

    def gate(self, gate: Gate) -> UrgencyGate:
        """Return the gate of an edge, given the one both roles have."""
        return UrgencyGate(gate, self.tiering.keeper, self._kept.metrics)

    def storing(self, dicomweb: ASGIApp, addresses: Addresses) -> ASGIApp:
        """Return the DICOMweb application of an edge, given the one both roles have."""
        passes_on = self._settings.stores == "forward"
        return PassStoresOn(dicomweb, self.upstreams, addresses) if passes_on else dicomweb

    def front(self, app: ASGIApp, gate: UrgencyGate, held: Callable[[Scope], HeldFrame | None]) -> ASGIApp:
        """Return all that an edge answers, given that and its gate, with what its answers say of the line.

        Parameters
        ----------
        held
            Returns the frames that need nobody else.
        """
        told = EdgeFront(app, self.upstreams, self._requested, gate.fetched)
        return HeldFirst(RemembersVia(told), self.upstreams, held)

    async def study_opened(self, study: StudyRef) -> None:
        """Find out, before a client is sent a study, which renditions the upstream has of it."""
        if self._renditions.is_due(study):
            await self._renditions.refresh(study)

    async def _renditions_of(self, study: StudyRef) -> bool:
        """Find out which renditions the upstream has; return whether it is making more."""
        await self.study_opened(study)
        return self._renditions.are_being_made(study)

    def _urgency_of(self, study: StudyRef) -> Urgency:
        tier = self.tiering.keeper.find(study)
        return Urgency.ROUTINE if tier is None else tier.urgency

    def _others_of(self, study: StudyRef) -> list[StudyRef]:
        tier = self.tiering.keeper.find(study)
        return [] if tier is None else [prior.study for prior in self.tiering.priors(tier)]

    async def archived(self, study: StudyRef, recorded: Sequence[OfferedInstance]) -> Sequence[bool]:
        """Ask the upstream which instances are in the archive, on behalf of an edge that offered them here.

        An edge vouches for nothing by its own memory: two that are each other's upstream would
        otherwise confirm each other what the archive never saw.
        """
        try:
            offer = Offer(study.study_instance_uid, tuple(recorded))
            answer = await self.upstreams.current.offer(study, offer, Urgency.ROUTINE)
        except NearframeError:
            return [False] * len(recorded)
        found = [one.stand is Stand.RECORDED and one.is_archived for one in answer.instances]
        return found if len(found) == len(recorded) else [False] * len(recorded)

    def _compared(self, study: StudyRef, upstream: Upstream) -> None:
        self.follower.pulled_from(study, upstream.url)
        self._changed(study)

    def _changed(self, study: StudyRef) -> None:
        self._kept.freshness.changed(study)
        self._renditions.changed(study)
        if self.tiering.keeper.table.looks_at_index:
            self._likenesses.changed(study)
        self.tiering.changed(study)
        self.forwarder.wake()  # it may have become this node's to forward
        if self.tiering.keeper.is_wanted(study):
            tasks.spawn(self.renew(study), name="renew metadata")
        self._nudge()

    async def _requested(self, path: str) -> None:
        """Somebody opens a study: by the time frames are asked for, its renditions are known.

        If a frame, or the table of all, is what is asked for first, it waits a moment: as stored a frame may be
        three times as long.
        """
        self.upstreams.make_ready()
        found = _STUDY_PATH.search(path)
        if found is None:
            return
        study = StudyRef(self._settings.tenant, found[1])
        tier = self.tiering.keeper.find(study)
        if "/frames" in path and (tier is None or not tier.is_whole) and self._indexes.known(study) is None:
            # It is wanted once the frame is known not to be here: it is built while that is found out.
            tasks.spawn(self._indexes.of(study), name="study index")
        # A study that is here as it is stored is served so: another encoding would cross the line in vain.
        if (tier is None or not tier.is_whole) and self._renditions.is_due(study):
            refresh = tasks.spawn(self._renditions.refresh(study), name="renditions")
            if "/frames" in path and self.upstreams.is_reachable:
                await asyncio.wait([refresh], timeout=_RENDITIONS_PATIENCE_S)


async def _not_renewed(study: StudyRef) -> None:
    """Prepare nothing."""


def _upstreams(
    settings: Settings, node_name: str, metrics: Metrics, clock: Clock, timeouts: Timeouts | None
) -> Upstreams:
    if not settings.upstream:
        raise ConfigurationError("an edge needs an upstream: --upstream URL, or upstream in nearframe.toml")
    ca = None if settings.upstream_ca is None else str(settings.upstream_ca)
    line = Line(clock, metrics)
    ranked = [
        Upstream(url, node_name=node_name, metrics=metrics, clock=clock, timeouts=timeouts, ca=ca, rank=rank, line=line)
        for rank, url in enumerate(settings.upstream)
    ]
    return Upstreams(ranked, line, clock, metrics)


def _as_clients_see(settings: Settings, node_name: str) -> Listed | None:
    """Return this edge as its upstream is told of it; None if it does not know its own URL."""
    if not settings.public_base_url:
        return None
    return Listed(settings.name or node_name, settings.public_base_url, settings.networks)
