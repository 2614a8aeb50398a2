"""Group commit: what is ready together becomes durable together.

One thread takes whatever instances have been appended to the content store since it last
looked, has their contents made durable with one `ContentStore.sync`, and records them in one
catalogue transaction. The two wait for different things and go on side by side; the
transaction is committed after the sync. Where the contents are on another machine it begins
after it, and asks whether another process let go of them meanwhile. While it does, the next
group gathers: nobody waits for others, and the busier the senders are, the larger the groups.

::

    1. contents appended (by the callers, before submit)      a crash here leaves contents of no
                                                              version, which a re-send finds held
    2. ContentStore.sync(…) beside Catalogue.record_decided   contents durable, nobody knows of them
    3. … which waits for the sync, then commits               durable and visible; who needs decoding
                                                              leaves the group and comes back by record
    4. the futures are resolved                               only now may anyone acknowledge
"""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from nearframe.errors import BackendFailed, Busy, DatabaseAway, NearframeError, NoSpace
from nearframe.ids import Digest
from nearframe.storage.ports import Catalogue, ContentStore, Mark, NewVersion, Recorded, StudyRef, Undecided

MAX_GROUP = 128  # bounds the transaction; more would gain nothing over one flush for 128


@dataclass(frozen=True, slots=True)
class _Entry:
    version: NewVersion
    since: Mark
    future: Future[Recorded]
    is_settled: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.version.tenant, self.version.identity.sop_instance_uid


class GroupCommit:
    """Makes instances durable, in groups. Callers may be on any thread.

    Parameters
    ----------
    settle
        Decodes an instance that digests cannot compare, and what it is compared with; returns it
        with its `pix`. Runs where `defer` puts it, once.
    defer
        Runs a function elsewhere, soon.
    on_commit
        Called on the committing thread after each group, with its size. Must not block.
    """

    def __init__(
        self,
        contents: ContentStore,
        catalogue: Catalogue,
        *,
        settle: Callable[[NewVersion, Undecided], NewVersion],
        defer: Callable[[Callable[[], None]], object],
        on_commit: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._contents = contents
        self._catalogue = catalogue
        self._settle = settle
        self._defer = defer
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="group-sync")
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, version: NewVersion, since: Mark, future: Future[Recorded]) -> None:
        """Have an instance recorded whose contents are all appended.

        Parameters
        ----------
        since
            `ContentStore.mark`, taken before the first of its contents was appended.
        future
            Set once the instance is durable and recorded; fails with a `NearframeError` if it is
            not. Already running, so that a caller who gives up does not stop the group.
        """
        self._queue.put(_Entry(version, since, future))

    def close(self) -> None:
        """Commit what was submitted, then stop. Nothing may be deferred or submitted any more."""
        self._queue.put(None)
        self._thread.join()
        self._syncer.shutdown()

    # -- groups ----------------------------------------------------------------------------

    def _run(self) -> None:
        ahead: list[_Entry] = []
        is_open = True
        while is_open or ahead:
            group, ahead, is_open = self._next_group(ahead, is_open)
            if group:
                self._commit(group)

    def _next_group(self, ahead: list[_Entry], is_open: bool) -> tuple[list[_Entry], list[_Entry], bool]:
        """Return a group, what has to wait for the next one, and whether more may come.

        An instance occurs once in a group: its second version is compared with the first.
        """
        waiting = list(ahead)
        while is_open and len(waiting) < MAX_GROUP:
            try:
                entry = self._queue.get(block=not waiting)
            except queue.Empty:
                break
            if entry is None:
                is_open = False
            else:
                waiting.append(entry)
        group: dict[tuple[str, str], _Entry] = {}
        rest = [entry for entry in waiting if group.setdefault(entry.key, entry) is not entry]
        return list(group.values()), rest, is_open

    def _commit(self, group: list[_Entry]) -> None:
        done = _each_if_need_be(self._record_decided, [entry for entry in group if not entry.is_settled])
        done += _each_if_need_be(self._record, [entry for entry in group if entry.is_settled])
        self._on_commit(len(done))

    def _record_decided(self, group: list[_Entry]) -> None:
        recorded = self._catalogue.record_decided([entry.version for entry in group], self._sync(group))
        for entry, outcome in zip(group, recorded, strict=True):
            if isinstance(outcome, Recorded):
                entry.future.set_result(outcome)
            else:
                self._settle_soon(entry, outcome)

    def _record(self, group: list[_Entry]) -> None:
        recorded = self._catalogue.record([entry.version for entry in group], self._sync(group))
        for entry, outcome in zip(group, recorded, strict=True):
            entry.future.set_result(outcome)

    def _sync(self, group: list[_Entry]) -> Callable[[], object]:
        """Begin to make the contents of a group durable; return what waits for it."""
        # The oldest mark: if the disk lost anything since, nobody of the group is told otherwise.
        since = min(entry.since for entry in group)
        if self._contents.is_remote:
            # Beside a request to another machine the catalogue's one writer, perhaps of all origins, would wait.
            self._contents.sync(since)
            return partial(self._contents.confirm, since, _referred(group))
        return self._syncer.submit(self._contents.sync, since).result

    def _settle_soon(self, entry: _Entry, undecided: Undecided) -> None:
        # The others of the group are recorded: whatever happens here is about this one.
        try:
            self._defer(partial(self._settle_entry, entry, undecided))
        except RuntimeError:  # the workers have stopped: the node is going down
            _fail(entry, Busy("this node is stopping; send the instance again"))

    def _settle_entry(self, entry: _Entry, undecided: Undecided) -> None:
        try:
            version = self._settle(entry.version, undecided)
        except Exception as error:  # noqa: BLE001 - the caller gets it as its answer
            _fail(entry, error)
            return
        self._queue.put(replace(entry, version=version, is_settled=True))


def _each_if_need_be(step: Callable[[list[_Entry]], None], group: list[_Entry]) -> list[_Entry]:
    """Run a step for a group; if that fails, for each entry, so that one cannot fail the others.

    Returns the entries for which it succeeded.
    """
    if not group:
        return []
    try:
        step(group)
    except Exception as error:  # noqa: BLE001 - each caller gets it as its answer
        if len(group) > 1 and not isinstance(error, NoSpace | Busy | DatabaseAway):
            return [entry for one in group for entry in _each_if_need_be(step, [one])]
        for entry in group:
            _fail(entry, error)
        return []
    return group


def _referred(group: Sequence[_Entry]) -> dict[StudyRef, set[Digest]]:
    """Return what the instances of a group refer to, by study."""
    found: defaultdict[StudyRef, set[Digest]] = defaultdict(set)
    for entry in group:
        found[entry.version.study] |= entry.version.contents
    return found


def _fail(entry: _Entry, error: Exception) -> None:
    if not isinstance(error, NearframeError):
        wrapped = BackendFailed(f"the instance could not be recorded ({type(error).__name__})")
        wrapped.__cause__ = error
        error = wrapped
    entry.future.set_exception(error)
