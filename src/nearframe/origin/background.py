"""Work on stored instances that nobody waits for: consumers of the outbox, at low priority.

Each consumer has a thread of the lowest priority and a durable cursor. An event is handled
at least once: the cursor moves after what was made of a batch is written, so a restart does
part of a batch again. What fails is counted and passed; only a store that is full or busy
is waited for, and a disk above its high mark. While requests are answered the work pauses, but never for good.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from nearframe import log
from nearframe.errors import Busy, NoSpace, NotFound, StatementRefused, StorageError
from nearframe.ids import Digest
from nearframe.metrics import BACKGROUND_INSTANCES, Metrics
from nearframe.query.status import Job
from nearframe.query.workers import Workers
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.ports import Catalogue, ContentStore, InstanceRecord, OutboxEvent, StudyRef

Made = TypeVar("Made")

BATCH_EVENTS = 256  # between two moves of the cursor, each a transaction
LOWEST_PRIORITY = 19

#: Between looks whether requests are still being answered; how long that may hold up a frame
#: and the next batch. Under load that never ends, two frames a second are worked on, and a
#: cursor moves every other second: not with every commit, which would double their number.
_LOOK_AGAIN_S = 0.05
_LONGEST_PAUSE_S = 0.5
_LONGEST_BATCH_PAUSE_S = 2.0
_STORE_RETRY_S = 5.0

_log = log.logger(__name__)


class FrameReader(Protocol):
    """Reads frames for a consumer, when it is a good moment to work on one.

    Raises
    ------
    Busy
        If the node is closing.
    """

    def __call__(self, study: StudyRef, enc: Digest) -> bytes: ...


class Consumer(Protocol[Made]):
    """What is made of stored instances. Called from one thread; both steps may happen again.

    Attributes
    ----------
    name
        Of its cursor: it never changes.
    """

    name: str

    def make(self, record: InstanceRecord, read_frame: FrameReader) -> Made | None:
        """Make what there is to make of an instance, None if there is nothing."""
        ...

    def write(self, made: Sequence[Made]) -> None:
        """Write what was made of several instances."""
        ...


class Background:
    """The consumers of a node, running until they are closed.

    Parameters
    ----------
    is_busy
        True while requests are being answered.
    room
        Bytes of the disk that may be used; less than nothing while work has to wait.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        contents: ContentStore,
        consumers: Sequence[Consumer[Any]],
        metrics: Metrics,
        *,
        is_busy: Callable[[], bool] = lambda: False,
        room: Callable[[], int] = lambda: 0,
    ) -> None:
        # All are made known before one may move on: events that every known consumer has passed go.
        for consumer in consumers:
            catalogue.outbox(consumer.name, 0)
        self._jobs = [_Job(catalogue, contents, consumer, metrics, is_busy, room) for consumer in consumers]

    def wake(self) -> None:
        """Say that there are new events. From any thread."""
        for job in self._jobs:
            job.wake()

    def drain(self, timeout_s: float) -> bool:
        """Wait until every consumer has seen every event there is now; False if that takes too long."""
        self.wake()
        return all(job.wait_idle(timeout_s) for job in self._jobs)

    def close(self) -> None:
        """Stop; what is not done is done next time."""
        for job in self._jobs:
            job.stop()
        for job in self._jobs:
            job.join()


class BackgroundWork:
    """The background of an archive, in this process while that is its to do.

    Parameters
    ----------
    names
        Of the consumers.
    open_background
        Starts them, given the catalogue to write to.
    """

    def __init__(
        self,
        names: Sequence[str],
        open_background: Callable[[SQLCatalogue], Background],
        catalogue: Catalogue,
        metrics: Metrics,
        disk: Workers,
    ) -> None:
        self._names = names
        self._open = open_background
        self._catalogue = catalogue
        self._metrics = metrics
        self._disk = disk
        self._running: Background | None = None

    @asynccontextmanager
    async def running(self, catalogue: SQLCatalogue) -> AsyncIterator[None]:
        """Run the consumers."""
        self._running = background = await self._disk.run(self._open, catalogue)
        try:
            yield
        finally:
            self._running = None
            await self._disk.run(background.close)

    def enrol(self) -> None:
        """Make every consumer known: from now on events wait for it. Sync."""
        for name in self._names:
            self._catalogue.outbox(name, 0)

    def wake(self) -> None:
        """Say that there are new events. From any thread."""
        if (running := self._running) is not None:
            running.wake()

    def status(self) -> dict[str, Job]:
        """Return how far each consumer is, and what this process did of it. Sync."""
        return {name: job_status(self._catalogue, self._metrics, name) for name in self._names}


def job_status(catalogue: Catalogue, metrics: Metrics, name: str) -> Job:
    """Return how far a consumer is, and what this process did of it."""
    return {
        "lag": catalogue.lag(name),
        "done": int(metrics.value(BACKGROUND_INSTANCES, consumer=name, result="done")),
        "failed": int(metrics.value(BACKGROUND_INSTANCES, consumer=name, result="failed")),
    }


class _Job:
    """One consumer and its thread."""

    def __init__(
        self,
        catalogue: Catalogue,
        contents: ContentStore,
        consumer: Consumer[Any],
        metrics: Metrics,
        is_busy: Callable[[], bool],
        room: Callable[[], int],
    ) -> None:
        self.name = consumer.name
        self._catalogue = catalogue
        self._contents = contents
        self._consumer = consumer
        self._metrics = metrics
        self._is_busy = is_busy
        self._room = room
        self._news = threading.Event()
        self._closing = threading.Event()
        self._idle = threading.Event()
        self._telling = threading.Lock()  # news and idle are never both set
        self._thread = threading.Thread(target=self._run, name=f"background-{self.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        with self._telling:
            self._idle.clear()
            self._news.set()

    def wait_idle(self, timeout_s: float) -> bool:
        return self._idle.wait(timeout_s)

    def stop(self) -> None:
        self._closing.set()
        self._news.set()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
        while not self._closing.is_set():
            self._pause(_LONGEST_BATCH_PAUSE_S)
            self._news.clear()
            if self._closing.is_set():  # told before the news it cleared
                return
            events = self._waiting_for_store(self._next_events) or []
            if events:
                self._consume(events)
            else:
                with self._telling:
                    if not self._news.is_set():
                        self._idle.set()
                self._news.wait()

    def _next_events(self) -> list[OutboxEvent]:
        return self._catalogue.outbox(self.name, BATCH_EVENTS)

    def _consume(self, events: list[OutboxEvent]) -> None:
        made = []
        # A version is announced again when a conflict is resolved; what is made of it stays the same.
        for event in {(event.kind, event.tenant, event.identity, event.version): event for event in events}.values():
            one = self._waiting_for_store(partial(self._make, event))
            if self._closing.is_set():
                return
            if one is not None:
                made.append(one)
        self._waiting_for_store(partial(self._write, made, events[-1].id))

    def _make(self, event: OutboxEvent) -> Any:
        if event.kind != "durable" or event.identity is None:
            return None
        if (room := self._room()) < 0:
            raise NoSpace(-room, 0)
        try:
            uid = event.identity.sop_instance_uid
            record = self._catalogue.find_instance(event.tenant, uid, version=event.version)
            return self._consumer.make(record, self._read_frame)
        except NotFound:  # deleted meanwhile
            return None
        except (Busy, NoSpace):
            raise
        except Exception as error:  # noqa: BLE001 - one instance must not hold up the rest
            self._failed(error, 1)
            return None

    def _write(self, made: list[Any], last_event_id: int) -> None:
        try:
            if made:
                self._consumer.write(made)
            self._count("done", len(made))
        except StatementRefused as error:
            self._failed(error, len(made))
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - one batch must not hold up the rest
            self._failed(error, len(made))
        self._catalogue.acknowledge(self.name, last_event_id)

    def _read_frame(self, study: StudyRef, enc: Digest) -> bytes:
        self._pause(_LONGEST_PAUSE_S)
        if self._closing.is_set():
            raise Busy("the node is closing")
        return self._contents.read(study, enc)

    def _pause(self, longest_s: float) -> None:
        """Wait while requests are being answered, but not for good."""
        waited_s = 0.0
        while waited_s < longest_s and self._is_busy() and not self._closing.wait(_LOOK_AGAIN_S):
            waited_s += _LOOK_AGAIN_S

    def _waiting_for_store(self, step: Callable[[], Any]) -> Any:
        """Take a step, again and again while the store cannot; None once the node closes."""
        while not self._closing.is_set():
            try:
                found = step()
            except StorageError as error:
                if not self._closing.wait(_STORE_RETRY_S):
                    _log.warning("background_waits", consumer=self.name, error=error)
            else:
                return found
        return None

    def _failed(self, error: Exception, number: int) -> None:
        self._count("failed", number)
        _log.warning("background_failed", consumer=self.name, error=error)

    def _count(self, result: str, number: int) -> None:
        self._metrics.add(BACKGROUND_INSTANCES, number, consumer=self.name, result=result)
