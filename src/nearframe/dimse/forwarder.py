"""Forwarding to DICOM peers: what the rules name goes out by C-STORE, until each peer has it.

Each peer has its own task, so one that is away holds nobody else up. It is tried again with
growing pauses; an instance that it refuses waits longer, and the others go on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.context import Context, local_admin
from nearframe.dimse import words
from nearframe.dimse.forward_box import ForwardBox, Waiting
from nearframe.dimse.requests import Requests
from nearframe.dimse.scu import Peer, associate
from nearframe.dimse.sending import ALWAYS_FIT, proposals, send_stored
from nearframe.errors import NearframeError, NotFound, StorageError, UpstreamError
from nearframe.metrics import DICOM_FORWARDED, Metrics
from nearframe.query.health import WELL, Check, Finding, State
from nearframe.query.retrieve_instances import InstanceService
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, InstanceRecord
from nearframe.units import counted

_STORE_RETRY_S: Final = 5.0
_MINUTE_S: Final = 60

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class ForwardPace:
    """How eagerly to forward.

    Attributes
    ----------
    batch
        Instances on one association.
    away_s
        First and longest pause after a peer could not be spoken to.
    refused_s
        First and longest pause after a peer refused an instance.
    """

    batch: int = ALWAYS_FIT
    away_s: tuple[float, float] = (1.0, 300.0)
    refused_s: tuple[float, float] = (60.0, 6 * 3600.0)


class DICOMForwarder:
    """Empties the box. For one event loop; `wake` may be called from any thread.

    Parameters
    ----------
    peers
        By AE title: whom to send to.
    """

    def __init__(
        self,
        box: ForwardBox,
        catalogue: Catalogue,
        instances: InstanceService,
        peers: Mapping[str, Peer],
        *,
        workers: Workers,
        metrics: Metrics,
        clock: Clock,
        pace: ForwardPace | None = None,
    ) -> None:
        self._box = box
        self._catalogue = catalogue
        self._instances = instances
        self._peers = peers
        self._workers = workers
        self._metrics = metrics
        self._clock = clock
        self._pace = pace or ForwardPace()
        self._loop = asyncio.get_running_loop()
        self._recorded = asyncio.Event()
        self._news = {title: asyncio.Event() for title in peers}
        #: When an instance that was refused may be tried again; after a restart, at once.
        self._due: dict[int, float] = {}
        #: By peer: with which instances under way an association ended.
        self._suspects: dict[str, set[int]] = {title: set() for title in peers}
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to forward."""
        self._recorded.set()
        self._running = [tasks.spawn(self._absorb(), name="absorb what to forward")]
        self._running += [tasks.spawn(self._serve(title), name="forward to a peer") for title in self._peers]

    async def stop(self) -> None:
        """Stop; what is not sent stays in the box."""
        await tasks.cancel(self._running)

    def wake(self) -> None:
        """Say that something was recorded."""
        self._loop.call_soon_threadsafe(self._recorded.set)

    # -- coming in -------------------------------------------------------------------------

    async def _absorb(self) -> None:
        while True:
            await self._recorded.wait()
            self._recorded.clear()
            try:
                for title in await self._workers.run(self._box.absorb):
                    if title in self._news:
                        self._news[title].set()
            except StorageError as error:
                _log.warning("forwarding_waits", error=error)
                self._loop.call_later(_STORE_RETRY_S, self._recorded.set)

    # -- one peer --------------------------------------------------------------------------

    async def _serve(self, title: str) -> None:
        failures = 0
        while True:
            self._news[title].clear()
            try:
                pause_s = await self._send_some(title)
                failures = 0
            except NearframeError as error:
                failures += 1
                pause_s = _pause(self._pace.away_s, failures)
                _log.warning("forwarding_put_off", peer=title, error=error)
                await asyncio.sleep(pause_s)  # no news makes a peer come back
                continue
            await self._until_news(title, pause_s)

    async def _until_news(self, title: str, pause_s: float | None) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._news[title].wait()
        except TimeoutError:
            pass

    async def _send_some(self, title: str) -> float | None:
        """Send a batch; return in how many seconds there may be more to do, None if only news can tell.

        Raises
        ------
        UpstreamError, Refused
            If the peer cannot be spoken to.
        """
        batch = await self._workers.run(self._box.batch, title, self._pace.batch)
        now = self._clock.monotonic()
        due = [one for one in batch if self._due.get(one.id, 0.0) <= now]
        if not due:
            return min((self._due[one.id] - now for one in batch), default=None)
        found = [(one, record) for one in due if (record := await self._record(one)) is not None]
        if found:
            await self._send(title, found)
        return 0.0

    async def _record(self, one: Waiting) -> InstanceRecord | None:
        """Return what to send; None if it was deleted, or replaced by a later version, which has a row of its own."""
        try:
            find = partial(self._catalogue.find_instance, version=one.version)
            record = await self._workers.run(find, one.study.tenant, one.sop_instance_uid)
        except NotFound:
            record = None
        if record is None or not record.is_current:
            await self._done(one)
            return None
        return record

    async def _send(self, title: str, found: Sequence[tuple[Waiting, InstanceRecord]]) -> None:
        """Send a batch; what the peer may have aborted over comes last.

        Some abort over an instance that they cannot take, which would then be the first to be sent for
        ever. It is put off where another went well before it on the same association, or where a whole
        batch is under suspicion; else it is the peer that is not well.
        """
        suspects = self._suspects[title]
        found = sorted(found, key=lambda pair: pair[0].id in suspects)
        is_clear = len(found) == self._pace.batch and found[0][0].id in suspects
        async with associate(self._peers[title], proposals([record for _, record in found])) as user:
            for one, record in found:
                try:
                    refusal = await self._send_one(user.requests, local_admin(one.study.tenant), record)
                except UpstreamError:
                    if is_clear and one.id in suspects:
                        await self._put_off(one, "the association ends whenever it is sent")
                        return
                    suspects.add(one.id)
                    raise
                is_clear = True
                if refusal:
                    await self._put_off(one, refusal)
                else:
                    self._metrics.add(DICOM_FORWARDED, result="sent")
                    await self._done(one)

    async def _send_one(self, requests: Requests, context: Context, record: InstanceRecord) -> str:
        """Send an instance; return why it was not taken, empty if it was."""
        try:
            answer = await send_stored(requests, self._instances, context, record, {})
        except UpstreamError:
            raise
        except NearframeError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - one instance must not hold up the rest
            _log.error("forwarding_broke_off", error=error)
            return "it cannot be sent"
        return "" if words.is_success(answer.status) else words.status_and_code(answer.status)

    async def _done(self, one: Waiting) -> None:
        await self._workers.run(self._box.done, one)
        self._due.pop(one.id, None)
        self._clear(one)

    async def _put_off(self, one: Waiting, reason: str) -> None:
        _log.warning("instance_not_forwarded", reason=reason)
        await self._workers.run(self._box.refused, one, reason)
        self._due[one.id] = self._clock.monotonic() + _pause(self._pace.refused_s, one.refusals + 1)
        self._metrics.add(DICOM_FORWARDED, result="refused")
        self._clear(one)

    def _clear(self, one: Waiting) -> None:
        for suspects in self._suspects.values():
            suspects.discard(one.id)


def forward_check(box: ForwardBox, workers: Workers, patience_s: float) -> Check:
    """Check that nothing waits too long for a peer, and that none refuses anything."""

    async def check() -> Finding:
        for stock in await workers.run(box.stock):
            if stock.refused:
                return Finding(
                    State.DEGRADED, f"{stock.peer} refuses {counted(stock.refused, 'instance')}: {stock.reason}"
                )
            if stock.oldest_s > patience_s:
                minutes = stock.oldest_s / _MINUTE_S
                waiting = f"{counted(stock.instances, 'instance')} for {stock.peer}"
                return Finding(State.DEGRADED, f"waiting: {waiting}, the oldest for {minutes:.0f} minutes")
        return WELL

    return check


def _pause(bounds: tuple[float, float], failures: int) -> float:
    """Return how long to wait after so many failures in a row: twice as long each time, and never in step."""
    first, longest = bounds
    return min(longest, first * 2.0 ** min(failures - 1, 20)) * (0.5 + random.random() / 2)
