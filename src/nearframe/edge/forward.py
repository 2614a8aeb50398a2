"""Forwarding what was taken in here: offered by digest, sent where it is lacking, verified.

Studies go in order of urgency, then of age; one that failed waits a little longer each
time, and the others go on. Nothing here has to be remembered: whatever is cut is offered
again from the outbox, and the upstream says what it lacks by then.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.context import Urgency
from nearframe.edge.outbox import Item, Outbox, WaitingStudy
from nearframe.edge.packing import Content, Packed, Packer, Picture
from nearframe.edge.pull import StudyPuller
from nearframe.edge.upstream import Upstream, Upstreams
from nearframe.errors import IntegrityError, NearframeError, NotFound, UpstreamError
from nearframe.ids import Digest
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, FORWARDED_BYTES, FORWARDED_INSTANCES, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef
from nearframe.units import MIB
from nearframe.wire import contentstream
from nearframe.wire.offer import Answered, Offer, OfferAnswer, Stand

#: Contents sent in one request: an urgent study waits for no more than this.
PARCEL_BYTES: Final = 4 * MIB
PARCEL_CONTENTS: Final = 1000
_DAMAGED: Final = "a content of it is damaged at this edge, and the upstream lacks it: send the instance again"
_LOST: Final = "this edge's catalogue does not know it any more, as after its loss: send the instance again"

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class ForwardPace:
    """How eagerly to forward.

    Attributes
    ----------
    at_once
        Studies at the same time; of a more urgent class than all of them, one more.
    batch
        Instances of one offer.
    retry_s
        First and longest pause before something that failed is tried again.
    """

    at_once: int = 2
    batch: int = 64
    retry_s: tuple[float, float] = (0.25, 30.0)


class SendsRecipes(Protocol):
    """Another way for frames to go."""

    async def send(
        self,
        study: StudyRef,
        upstream: Upstream,
        parcel: Sequence[Content],
        pictures: Mapping[Digest, Picture],
        urgency: Urgency,
    ) -> list[Content]:
        """Send what is shorter as a recipe; return what has to be sent as it is."""
        ...


class Forwarder:
    """Empties the outbox. For one event loop.

    Parameters
    ----------
    urgency_of
        The class of a study.
    compared
        Told of a study after it was compared with an upstream.
    taken_in
        Told of a study after something of it was taken in.
    """

    #: How frames are sent in fewer bytes, where the upstream takes that.
    by_recipe: SendsRecipes | None = None

    def __init__(
        self,
        outbox: Outbox,
        packer: Packer,
        upstreams: Upstreams,
        puller: StudyPuller,
        *,
        urgency_of: Callable[[StudyRef], Urgency],
        workers: Workers,
        metrics: Metrics,
        clock: Clock,
        compared: Callable[[StudyRef, Upstream], None],
        taken_in: Callable[[StudyRef], None],
        pace: ForwardPace | None = None,
    ) -> None:
        self._outbox = outbox
        self._packer = packer
        self._upstreams = upstreams
        self._puller = puller
        self._urgency_of = urgency_of
        self._workers = workers
        self._metrics = metrics
        self._clock = clock
        self._compared = compared
        self._taken_in = taken_in
        self._pace = pace or ForwardPace()
        self._rng = random.Random()
        self._news = asyncio.Event()
        self._active: dict[StudyRef, asyncio.Task[None]] = {}
        #: Failures in a row of a study, and when it may be tried again.
        self._failed: dict[StudyRef, tuple[int, float]] = {}
        self._runner: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to forward."""
        self._news.set()
        self._runner = tasks.spawn(self._run(), name="forward")

    async def stop(self) -> None:
        """Stop; what was not forwarded is after the next start."""
        await tasks.cancel([*([self._runner] if self._runner else []), *self._active.values()])

    def raised(self, study: StudyRef) -> None:
        """Say that a study has become more urgent: if anything of it waits, it may be its turn."""
        if self._outbox.is_waiting(study):
            self.wake()

    def wake(self) -> None:
        """Say that something was taken in, or may be tried again. On the event loop."""
        self._news.set()

    def try_now(self) -> None:
        """Forget what failed before: somebody mended it."""
        self._failed.clear()
        self.wake()

    # -- which study -----------------------------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        while True:
            self._news.clear()
            try:
                for study in await self._workers.run(self._outbox.absorb):
                    self._taken_in(study)
                waiting = await self._workers.run(self._outbox.waiting, self._upstreams.current.url)
                failures = 0
            except NearframeError as error:
                failures += 1
                _log.warning("outbox_cannot_be_read", error=error)
                await asyncio.sleep(self._backoff_s(failures))
                continue
            self._begin(waiting)
            await self._until_something_is_due(waiting)

    def _begin(self, waiting: Sequence[WaitingStudy]) -> None:
        now = self._clock.monotonic()
        due = [one for one in waiting if one.study not in self._active and self._due_at(one.study) <= now]
        # Sorting keeps what waits longest first within a class.
        for one in sorted(due, key=lambda one: self._urgency_of(one.study)):
            if len(self._active) >= self._pace.at_once and not self._overtakes(one.study):
                return
            self._active[one.study] = tasks.spawn(self._one_step(one), name="forward study")

    def _overtakes(self, study: StudyRef) -> bool:
        """Return whether a study is more urgent than each that is on its way: it then need not wait for a slot.

        On the line itself its parcels go before theirs.
        """
        urgency = self._urgency_of(study)
        return all(urgency < self._urgency_of(other) for other in self._active)

    async def _until_something_is_due(self, waiting: Sequence[WaitingStudy]) -> None:
        pauses = [self._due_at(one.study) for one in waiting if one.study not in self._active]
        now = self._clock.monotonic()
        timeout_s = None
        if pauses and len(self._active) < self._pace.at_once:
            timeout_s = max(0.0, min(pauses) - now)
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            pass

    def _due_at(self, study: StudyRef) -> float:
        return self._failed.get(study, (0, 0.0))[1]

    async def _one_step(self, one: WaitingStudy) -> None:
        study, upstream = one.study, self._upstreams.current
        try:
            if one.unsent:
                await self._forward(study, upstream)
            else:
                await self._hand_over(study, upstream)
            self._failed.pop(study, None)
        except Exception as error:  # noqa: BLE001 - else it would be tried again at once, and again
            self._put_off(study, upstream, error)
        finally:
            del self._active[study]
            self._news.set()

    def _put_off(self, study: StudyRef, upstream: Upstream, error: Exception) -> None:
        failures = self._failed.get(study, (0, 0.0))[0] + 1
        pause_s = max(self._backoff_s(failures), upstream.breaker.pause_s)
        self._failed[study] = failures, self._clock.monotonic() + pause_s
        if not isinstance(error, UpstreamError):
            _log.warning("forwarding_put_off", error=error)

    def _backoff_s(self, failures: int) -> float:
        first, longest = self._pace.retry_s
        return min(longest, first * 2.0 ** min(failures - 1, 16)) * (0.5 + self._rng.random() / 2)

    # -- one study -------------------------------------------------------------------------

    async def _forward(self, study: StudyRef, upstream: Upstream) -> None:
        """Forward a batch of a study.

        Raises
        ------
        UpstreamError
            If anything of it has to be tried again.
        """
        run = self._workers.run
        items = await run(self._outbox.batch, study, self._pace.batch, upstream.url)
        packed = [one for item in items if (one := await self._pack(study, item)) is not None]
        if not packed:
            return
        answer = await self._offer(study, upstream, packed)
        if answer.lacks:
            damaged = await self._send(study, upstream, packed, answer)
            packed = [one for one in packed if not await self._give_up_damaged(one, damaged)]
            await run(self._outbox.sent, [one.item for one in packed])
            answer = await self._offer(study, upstream, packed) if packed else OfferAnswer((), ())
        await self._note(upstream, packed, answer.instances)

    async def _hand_over(self, study: StudyRef, upstream: Upstream) -> None:
        """Show what the upstream shows, now that it has everything of the study."""
        try:
            await self._puller.pull(study, upstream)
        except NotFound as error:
            raise UpstreamError("the upstream has recorded a study and does not show it yet") from error
        self._compared(study, upstream)

    async def _pack(self, study: StudyRef, item: Item) -> Packed | None:
        try:
            return await self._workers.run(self._packer.pack, study, item)
        except NotFound:
            await self._refuse(item, _LOST)
        except IntegrityError:
            await self._refuse(item, _DAMAGED)
            self._metrics.add(EDGE_INTEGRITY_FAILURES, what="outbox")
        return None

    async def _offer(self, study: StudyRef, upstream: Upstream, packed: Sequence[Packed]) -> OfferAnswer:
        offer = Offer(study.study_instance_uid, tuple(one.offered for one in packed))
        answer = await upstream.offer(study, offer, self._urgency_of(study))
        if len(answer.instances) != len(packed):
            raise UpstreamError("the upstream's answer is to another offer")
        return answer

    async def _give_up_damaged(self, one: Packed, damaged: set[Digest]) -> bool:
        if damaged.isdisjoint(one.contents):
            return False
        _log.error("content_damaged_before_it_was_forwarded")
        self._metrics.add(EDGE_INTEGRITY_FAILURES, what="outbox")
        await self._refuse(one.item, _DAMAGED)
        return True

    async def _note(self, upstream: Upstream, packed: Sequence[Packed], answers: Sequence[Answered]) -> None:
        later, held = 0, list[Item]()
        for one, answered in zip(packed, answers, strict=True):
            match answered.stand:
                case Stand.RECORDED if not answered.is_archived:
                    held.append(one.item)
                case Stand.RECORDED:
                    await self._workers.run(
                        self._outbox.verified, one.item, answered.version, answered.reason, upstream.url
                    )
                    self._metrics.add(FORWARDED_INSTANCES, result=answered.outcome)
                case Stand.REFUSED:
                    await self._refuse(one.item, answered.reason)
                case Stand.LACKING | Stand.LATER:
                    later += 1
        if held:
            await self._workers.run(self._outbox.sent, held)
        if later or held:
            raise UpstreamError(f"upstream {later} instances are not recorded yet, {len(held)} not in the archive yet")

    async def _refuse(self, item: Item, reason: str) -> None:
        _log.error("instance_not_forwarded", reason=reason)
        await self._workers.run(self._outbox.refused, item, reason)
        self._metrics.add(FORWARDED_INSTANCES, result="refused")

    # -- contents --------------------------------------------------------------------------

    async def _send(
        self, study: StudyRef, upstream: Upstream, packed: Sequence[Packed], answer: OfferAnswer
    ) -> set[Digest]:
        """Send what is lacking; return what could not be sent since it is damaged here."""
        urgency = self._urgency_of(study)
        known = {digest: content for one in packed for digest, content in one.contents.items()}
        wanted = [known[digest] for digest in answer.lacks if digest in known]
        by_recipe = self.by_recipe if answer.recipes else None
        pictures = {digest: picture for one in packed for digest, picture in one.pictures.items()}
        damaged: set[Digest] = set()
        for parcel in parcels(wanted):
            whole = [one for one in parcel if not await self._is_damaged(study, one, damaged)]
            if by_recipe is not None and whole:
                whole = await by_recipe.send(study, upstream, whole, pictures, urgency)
            if whole:
                await upstream.send(study, whole[0].kind, self._stream(study, whole), urgency)
                self._metrics.add(FORWARDED_BYTES, sum(one.length for one in whole), kind=whole[0].kind.name.lower())
        return damaged

    async def _is_damaged(self, study: StudyRef, content: Content, damaged: set[Digest]) -> bool:
        if not await self._workers.run(self._packer.is_sound, study, content):
            damaged.add(content.digest)
        return content.digest in damaged

    async def _stream(self, study: StudyRef, parcel: Sequence[Content]) -> AsyncIterator[bytes]:
        for content in parcel:
            yield contentstream.opening(content.digest, content.length)
            chunks = self._packer.stream(study, content)
            while (chunk := await self._workers.run(next, chunks, None)) is not None:
                yield chunk
        yield contentstream.ending(len(parcel))


def parcels(contents: Sequence[Content]) -> Iterator[list[Content]]:
    """Cut contents into what one request sends: of one kind, and no more than an urgent study can wait for."""
    by_kind: dict[int, list[Content]] = {}
    for content in contents:
        by_kind.setdefault(content.kind, []).append(content)
    for same in by_kind.values():
        parcel: list[Content] = []
        size = 0
        for content in same:
            if parcel and (size + content.length > PARCEL_BYTES or len(parcel) == PARCEL_CONTENTS):
                yield parcel
                parcel, size = [], 0
            parcel.append(content)
            size += content.length
        if parcel:
            yield parcel
