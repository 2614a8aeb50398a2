"""Following the change feed of the upstream in use: every changed study is pulled, soon, and once.

Pages of the feed mark studies as changed; a few are pulled at a time.

- A study that grows is pulled at once, then at most every quarter of a second, or less often
  where a pull takes long, so that a large study does not keep both nodes busy with itself.
- A study that changes and does not grow is being corrected: it is pulled when the corrections
  have come to a pause. One delta then says them all, and nobody sees half of them.

The cursor that survives a restart is the place before the oldest change not yet pulled.
One that keeps failing holds it back and is tried again and again; the others go on.

An archive that was restored from a backup begins its feed anew, and lacks what it had acknowledged since.
Everything here is then compared with it, and what it lacks is forwarded to it, as far as it is held here.

Each upstream has a feed and a cursor of its own. When another one comes into use its feed is
read from where it was left, and what was taken over elsewhere meanwhile is compared with it: by
roots, so that what is equal moves nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial

from nearframe import log, tasks
from nearframe.cache.sizedlru import SizedLRU
from nearframe.clock import Clock
from nearframe.edge.cursor import CursorFile, Place
from nearframe.edge.pace import Pace
from nearframe.edge.pull import Pulled, StudyPuller
from nearframe.edge.upstream import FeedAnswer, FeedEntry, Upstream, Upstreams
from nearframe.errors import Gone, NearframeError, NotFound, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from nearframe.query.workers import Workers
from nearframe.storage.ports import FeedCursor, GivenUrgency, StudyRef

_STUDIES_KEPT = 10_000  # of those that are not known to be corrected, the first correction is pulled at once
_NOT_OF_THE_FEED = 0  # in place of the sequence of an entry
_UNKNOWN = -1  # how many instances a study has
_PATIENT = 4  # failures in a row that the pause is for where there is no hurry
_LEADS_BACK = (
    "the upstream follows this node in turn, so neither hears of anything but what is stored at the two: "
    "correct the upstream of one of them"
)
_log = log.logger(__name__)


class Follower:
    """Follows one upstream at a time, for one tenant. For one event loop.

    Parameters
    ----------
    changed
        Told of each study after it changed here.
    told
        Told what the upstream says of a study's urgency, as soon as it says so.
    """

    def __init__(
        self,
        upstreams: Upstreams,
        puller: StudyPuller,
        cursor_file: CursorFile,
        *,
        tenant: str,
        local_epoch: str,
        workers: Workers,
        clock: Clock,
        changed: Callable[[StudyRef], None],
        told: Callable[[StudyRef, GivenUrgency | None], None] = lambda _study, _given: None,
        pace: Pace | None = None,
    ) -> None:
        self._upstreams = upstreams
        self._puller = puller
        self._cursor_file = cursor_file
        self._tenant = tenant
        self._local_epoch = local_epoch
        self._workers = workers
        self._clock = clock
        self._changed = changed
        self._told = told
        self._pace = pace or Pace()
        self._rng = random.Random()
        self._slots = asyncio.Semaphore(self._pace.at_once)
        self._pending: dict[str, FeedEntry] = {}
        self._pulling: dict[str, asyncio.Task[None]] = {}
        #: Instances of each study when it was last pulled.
        self._instances: SizedLRU[str, int] = SizedLRU(_STUDIES_KEPT)
        self._room = asyncio.Event()
        #: Whose feed is read, and from where on.
        self._url = upstreams.current.url
        self._read: str | None = None
        self._to_compare: frozenset[str] = frozenset()
        #: Whether it began anew, and the studies that it has named since.
        self._is_anew = False
        self._named: set[str] = set()
        #: Where the others were left.
        self._places: dict[str, Place] = {}
        self._saved: dict[str, Place] = {}
        self._save_wanted = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []
        self.resyncs = 0
        #: Why nothing new is followed though the upstream answers; empty while all is well.
        self.problem = ""

    # -- state -----------------------------------------------------------------------------

    @property
    def cursor(self) -> str:
        """The place in the upstream's feed up to which this edge is complete; empty before the first."""
        return self._complete_to() or ""

    @property
    def lag(self) -> int:
        """Studies known to have changed beyond it."""
        return len(self._pending)

    # -- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow, from where the cursor file says."""
        kept, urls = self._cursor_file.load(self._local_epoch), {one.url for one in self._upstreams.ranked}
        self._places = {url: place for url, place in kept.items() if url in urls}
        self._saved = dict(self._places)
        self._running = [
            tasks.spawn(self._keep_following(), name="follow"),
            tasks.spawn(self._keep_saving(), name="save feed cursor"),
        ]

    async def stop(self) -> None:
        """Stop; what was pulled stays, what was not is pulled after the next start."""
        await tasks.cancel([*self._running, *self._pulling.values()])
        await self._save()

    def pulled_from(self, study: StudyRef, upstream: str) -> None:
        """Say that a study changed here to what one upstream shows: what others showed of it is outdated."""
        uid = study.study_instance_uid
        for url in {*self._places, self._url} - {upstream}:
            if url == self._url:
                self._compare(uid)
            else:
                self._places[url] = self._places[url].but_for(uid)
        self._save_wanted.set()

    # -- the feed --------------------------------------------------------------------------

    async def _keep_following(self) -> None:
        """Follow whichever upstream is in use."""
        while True:
            upstream = self._upstreams.current
            self._take_up(upstream)
            following = tasks.spawn(self._follow(upstream), name="follow feed")
            try:
                await self._upstreams.left(upstream)
            finally:
                await tasks.cancel([following])
            self._places[self._url] = self._place()

    def _take_up(self, upstream: Upstream) -> None:
        place = self._places.get(upstream.url, Place())
        self._url, self._read, self._to_compare = upstream.url, place.cursor, frozenset()
        self._is_anew = place.is_anew
        self._named.clear()
        self.problem = ""
        # Their sequences are of the other feed. What was being pulled goes on, from where it can be.
        self._pending.clear()
        for uid in place.to_compare:
            self._compare(uid)

    def _compare(self, uid: str) -> None:
        """Have a study compared with the upstream in use, though its feed does not say that it changed."""
        self._to_compare |= {uid}
        if uid not in self._pending:
            self._want(FeedEntry(_NOT_OF_THE_FEED, uid, _UNKNOWN))

    async def _follow(self, upstream: Upstream) -> None:
        failures = 0
        while True:
            try:
                page = await upstream.feed(self._tenant, self._read, 0 if self._is_anew else self._pace.wait_s)
                failures = 0
                self._note_loop(page)
            except Gone:
                await self._begin_anew(upstream)
                continue
            except NearframeError as error:
                failures += 1
                is_away = isinstance(error, UpstreamUnavailable | UpstreamTimeout)
                self.problem = "" if is_away else str(error)
                if failures == 1 and is_away:
                    _log.warning("feed_unreachable", error=error)
                elif failures == 1:
                    _log.warning("feed_refused", error=error)
                await asyncio.sleep(max(upstream.breaker.pause_s, self._backoff_s(failures)))
                continue
            for entry in page.entries:
                self._mark(entry)
            self._read = page.next
            self._save_wanted.set()
            await self._until_there_is_room()
            if self._is_anew and not page.entries and not self._pending:
                await self._end_anew(upstream)
            if page.entries or self._is_anew:
                await asyncio.sleep(self._pace.poll_s)

    async def _begin_anew(self, upstream: Upstream) -> None:
        """Read the feed of a restored upstream from the beginning. Roots tell what is held: nothing of that moves."""
        try:
            await self._puller.doubt(upstream)
        except NearframeError as error:
            _log.warning("feed_not_begun_anew", error=error)
            await asyncio.sleep(self._backoff_s(_PATIENT))
            return
        _log.warning("feed_began_anew")
        self.resyncs += 1
        self._read, self._is_anew = None, True
        self._pending.clear()  # their sequences are of the other epoch; the new feed names them again
        self._to_compare = frozenset()
        self._named.clear()

    async def _end_anew(self, upstream: Upstream) -> None:
        """Compare what the new feed did not name: the upstream may have lost it."""
        if _is_archive(upstream):
            try:
                for study in await self._puller.keep_unknown(self._tenant, self._named, upstream):
                    self._changed(study)
            except NearframeError as error:
                _log.debug("comparing_put_off", error=error)
                await asyncio.sleep(max(upstream.breaker.pause_s, self._backoff_s(_PATIENT)))
                return
        self._is_anew = False
        self._save_wanted.set()

    def _note_loop(self, page: FeedAnswer) -> None:
        """Take note of an upstream that follows this node. It is followed on: another one may be in use there soon."""
        problem = _LEADS_BACK if page.leads_back else ""
        if problem and problem != self.problem:
            _log.warning("feed_leads_back")
        self.problem = problem

    async def _until_there_is_room(self) -> None:
        while len(self._pending) >= self._pace.pending:
            self._room.clear()
            await self._room.wait()

    def _mark(self, entry: FeedEntry) -> None:
        self._told(StudyRef(self._tenant, entry.study_instance_uid), entry.given)
        self._want(entry)

    def _want(self, entry: FeedEntry) -> None:
        uid = entry.study_instance_uid
        if self._is_anew:
            self._named.add(uid)
        self._pending[uid] = entry
        if uid not in self._pulling:
            self._pulling[uid] = tasks.spawn(self._keep_pulling(uid), name="pull study")

    # -- one study -------------------------------------------------------------------------

    async def _keep_pulling(self, uid: str) -> None:
        """Pull a study until no change of it is pending, and some quiet time has passed."""
        failures = 0
        try:
            while uid in self._pending:
                await self._settle(uid)
                async with self._slots:
                    entry = self._pending.get(uid)
                    if entry is None:  # the feed began anew, or is another one
                        return
                    began = self._clock.monotonic()
                    succeeded = await self._pull(entry)
                    took_s = self._clock.monotonic() - began
                if succeeded:
                    failures = 0
                    self._done(uid, entry)
                    await asyncio.sleep(max(self._pace.quiet_s, self._pace.share * took_s))
                else:
                    failures += 1
                    await asyncio.sleep(self._backoff_s(failures))
        finally:
            del self._pulling[uid]

    async def _settle(self, uid: str) -> None:
        """Wait while a study is being corrected."""
        pause_s, longest_s = self._pace.settle_s
        give_up_at = self._clock.monotonic() + longest_s
        entry: FeedEntry | None = None
        while entry is not self._pending.get(uid) and self._clock.monotonic() < give_up_at:
            entry = self._pending.get(uid)
            if entry is None or self._instances.get(uid) != entry.instances:
                return
            await asyncio.sleep(pause_s)

    async def _pull(self, entry: FeedEntry) -> bool:
        study = StudyRef(self._tenant, entry.study_instance_uid)
        upstream = self._upstreams.current
        keeps = self._is_anew and _is_archive(upstream)
        pull = partial(self._puller.pull, keeps=keeps) if entry.instances else self._puller.remove
        try:
            pulled = await pull(study, upstream)
        except NotFound:
            return True  # gone again: the feed will say so
        except UpstreamError as error:
            _log.debug("pull_put_off", error=error)
            return False
        except Exception as error:  # noqa: BLE001 - what is wrong with one study must not keep the others from here
            _log.warning("pull_failed", error=error)
            return False
        if pulled is not Pulled.UNCHANGED:
            self.pulled_from(study, upstream.url)
            self._changed(study)
        return True

    def _done(self, uid: str, entry: FeedEntry) -> None:
        self._instances.put(uid, entry.instances, 1)
        if self._pending.get(uid) is entry:  # else it changed again meanwhile
            del self._pending[uid]
            self._to_compare -= {uid}
            self._room.set()
            self._save_wanted.set()

    def _backoff_s(self, failures: int) -> float:
        first, longest = self._pace.retry_s
        return min(longest, first * 2.0 ** min(failures - 1, 16)) * (0.5 + self._rng.random() / 2)

    # -- the cursor ------------------------------------------------------------------------

    def _complete_to(self) -> str | None:
        sequences = [entry.seq for entry in self._pending.values() if entry.seq != _NOT_OF_THE_FEED]
        if self._read is None or not sequences:
            return self._read
        return str(FeedCursor(self._read.rpartition(":")[0], min(sequences) - 1))

    def _place(self) -> Place:
        return Place(self._complete_to(), self._to_compare, self._is_anew)

    async def _keep_saving(self) -> None:
        while True:
            await self._save_wanted.wait()
            self._save_wanted.clear()
            await self._save()
            await asyncio.sleep(self._pace.quiet_s)

    async def _save(self) -> None:
        places = {**self._places, self._url: self._place()}
        if places == self._saved:
            return
        try:
            await self._workers.run(self._cursor_file.save, self._local_epoch, places)
            self._saved = places
        except NearframeError as error:  # the next change tries again; a crash until then repeats a little
            _log.warning("cursor_not_saved", error=error)


def _is_archive(upstream: Upstream) -> bool:
    """Return whether an upstream is the archive: an edge that began anew is one that does not hold everything yet."""
    return len(upstream.came_through) <= 1
