"""Group commit: what is ready together becomes durable together.

One thread takes whatever instances have been appended to the content store since it last
looked, makes their contents durable with one `ContentStore.sync`, and then records them
in one catalogue transaction. While it does, the next group gathers. Nobody waits for a
timer: a lone sender pays two flushes, many senders share them.

::

    1. contents appended (by the callers, before submit)      a crash here leaves unreferenced
                                                              contents, which compaction drops
    2. ContentStore.sync(…)                                   contents durable, nobody knows of them
    3. Catalogue.record(batch)                                durable and visible
    4. the futures are resolved                               only now may anyone acknowledge
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from nearframe.errors import BackendFailed, Busy, NoSpace, StorageError
from nearframe.storage.ports import Catalogue, ContentStore, NewVersion, Recorded

MAX_GROUP = 128  # bounds the transaction; more would gain nothing over one flush for 128

_Entry = tuple[NewVersion, int, "Future[Recorded]"]


class GroupCommit:
    """Makes instances durable, in groups. Callers may be on any thread.

    Parameters
    ----------
    on_commit
        Called on the committing thread after each group, with its size. Must not block.
    """

    def __init__(
        self, contents: ContentStore, catalogue: Catalogue, *, on_commit: Callable[[int], None] | None = None
    ) -> None:
        self._contents = contents
        self._catalogue = catalogue
        self._on_commit = on_commit
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, version: NewVersion, since: int) -> Future[Recorded]:
        """Have an instance recorded whose contents are all appended.

        `since` is the store's `mark` from before the first of them was.

        The future fails with `StorageError` if the instance is not durable.
        """
        future: Future[Recorded] = Future()
        future.set_running_or_notify_cancel()  # a caller that gives up must not stop the group
        self._queue.put((version, since, future))
        return future

    def close(self) -> None:
        """Commit what was submitted, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            group, open_ = self._next_group()
            if group:
                self._commit(group)

    def _next_group(self) -> tuple[list[_Entry], bool]:
        """Wait for one entry, then take those that are there already; False after the last."""
        group: list[_Entry] = []
        while len(group) < MAX_GROUP:
            try:
                entry = self._queue.get(block=not group)
            except queue.Empty:
                break
            if entry is None:
                return group, False
            group.append(entry)
        return group, True

    def _commit(self, group: list[_Entry]) -> None:
        try:
            # The oldest mark: if the disk lost anything since, nobody of the group is told otherwise.
            self._contents.sync(min(since for _, since, _ in group))
        except Exception as error:  # noqa: BLE001 - each caller gets it as its answer
            _fail(group, error)
            return
        self._record(group)
        if self._on_commit is not None:
            self._on_commit(len(group))

    def _record(self, group: list[_Entry]) -> None:
        try:
            recorded = self._catalogue.record([version for version, _, _ in group])
        except Exception as error:  # noqa: BLE001 - each caller gets it as its answer
            if len(group) == 1 or isinstance(error, NoSpace | Busy):
                _fail(group, error)
                return
            # One instance the catalogue cannot take must not fail the others.
            for entry in group:
                self._record([entry])
            return
        for (_, _, future), outcome in zip(group, recorded, strict=True):
            future.set_result(outcome)


def _fail(group: list[_Entry], error: Exception) -> None:
    if not isinstance(error, StorageError):
        wrapped = BackendFailed(f"the instance could not be recorded ({type(error).__name__})")
        wrapped.__cause__ = error
        error = wrapped
    for _, _, future in group:
        future.set_exception(error)
