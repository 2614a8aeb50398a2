"""Taking in: from a spooled part to a durable, recorded instance.

::

    part --spool--> worker: split, digest, append --group commit--> answer

Each instance fails or succeeds by itself. Nothing is acknowledged before it is durable,
and sending the same again changes nothing (`storage.ports.Outcome`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from nearframe import log
from nearframe.clock import Clock, SystemClock
from nearframe.context import Context
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import Source
from nearframe.dicom.split import split
from nearframe.dicomweb.ports import StoredInstance
from nearframe.errors import BackendFailed, MalformedDICOM, MismatchedIdentifier, NearframeError
from nearframe.ids import Digest, Identity
from nearframe.intake.commit import GroupCommit
from nearframe.intake.inuse import StudiesInUse
from nearframe.intake.prepare import Arrival, append_contents
from nearframe.intake.settle import Settler
from nearframe.metrics import (
    INGEST_BYTES,
    INGEST_COMMITS,
    INGEST_FAILURES,
    INGEST_INSTANCES,
    INGEST_SECONDS,
    Metrics,
)
from nearframe.storage.ports import Catalogue, ContentStore, Outcome, Recorded, StudyRef

#: Warning Reason of an instance that was stored and is not current, since its pixels are not
#: those of the instance held under its UID. PS3.18 section 10.5.3.1.2 names three codes, for
#: data that were changed or left out or do not fit their SOP Class, and lets a service add its own;
#: PS3.7 Annex C makes Bxxx a warning.
PIXELS_DIFFER = 0xB0C0
#: Likewise, of one that somebody took out of view.
WITHDRAWN = 0xB0C1
#: Error Comment is an LO: 64 characters, or other software cuts it.
_WARNINGS = {
    Outcome.CONFLICTING: (PIXELS_DIFFER, "not current: other pixels are held; see nearframe conflicts"),
    Outcome.WITHDRAWN: (WITHDRAWN, "kept, not shown: it was taken out of view; see nearframe correct"),
}

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class NotTaken:
    """An object that was not stored: why, and its identity if it could be read that far."""

    error: NearframeError
    identity: Identity | None = None

    def __post_init__(self) -> None:
        # It waits for the end of the request, and its frames would hold what came of the object.
        self.error.__traceback__ = None


class Received(Source, Protocol):
    """An object that arrived in full; closing it gives its room back."""

    def close(self) -> None: ...


@dataclass(slots=True)
class _Attempt:
    """What is known of an object while it is taken in: filled in as far as it gets."""

    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the sender says an object is.

    Attributes
    ----------
    study, instance, sop_class
        UIDs; None for any.
    file
        Digest that identifies the whole file, None if it is not known.
    """

    study: str | None = None
    instance: str | None = None
    file: Digest | None = None
    sop_class: str | None = None

    def check_identity(self, identity: Identity) -> None:
        """Refuse an object that is another one."""
        if self.study not in (None, identity.study_instance_uid):
            raise MismatchedIdentifier("StudyInstanceUID")
        if self.instance not in (None, identity.sop_instance_uid):
            raise MismatchedIdentifier("SOPInstanceUID")
        if self.sop_class not in (None, identity.sop_class_uid):
            raise MismatchedIdentifier("SOPClassUID")

    def check_file(self, file: Digest) -> None:
        """Refuse an object that comes out otherwise when it is taken apart here."""
        if self.file not in (None, file):
            raise MalformedDICOM(
                "the file is not the one that was offered, or this release takes it apart in another way"
            )


class Ingest:
    """Takes in objects. One event loop; closing it finishes what was begun.

    Parameters
    ----------
    threads
        Objects taken apart at the same time.
    on_commit
        Called on a thread of its own after each group that became durable. Must not block.
    in_use
        Told of each study while an object of it is taken in.
    """

    def __init__(
        self,
        contents: ContentStore,
        catalogue: Catalogue,
        metrics: Metrics,
        *,
        limits: Limits | None = None,
        threads: int = 2,
        clock: Clock | None = None,
        on_commit: Callable[[], None] = lambda: None,
        in_use: StudiesInUse | None = None,
    ) -> None:
        self._contents = contents
        self.in_use = in_use or StudiesInUse()
        self._metrics = metrics
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="ingest")
        self._commit = GroupCommit(
            contents,
            catalogue,
            settle=Settler(contents, catalogue).settle,
            defer=self._workers.submit,
            on_commit=lambda size: self._committed(on_commit),
        )

    async def take(self, ctx: Context, received: Received, expected: Expected, way: str) -> StoredInstance | NotTaken:
        """Take in one object, and close it. If it is stored, it is durable.

        Parameters
        ----------
        expected
            An object that is another one is refused.
        way
            How it came: ``"stow"``, ``"offer"``.
        """
        attempt = _Attempt()
        began_s = self._clock.monotonic()
        try:
            recorded = await self._recorded(ctx, received, expected, way, attempt)
        except NearframeError as error:
            return self._not_taken(error, attempt)
        except Exception as error:  # noqa: BLE001 - where the work on one instance ends: the others go on
            _log.error("ingest_failed", error=error)
            return self._not_taken(BackendFailed("the server failed to process it"), attempt)
        self._metrics.observe(INGEST_SECONDS, self._clock.monotonic() - began_s)
        return self._stored(attempt, recorded)

    def close(self) -> None:
        """Finish what was begun, then stop. Blocks."""
        self._workers.shutdown()
        self._commit.close()

    async def _recorded(
        self, ctx: Context, received: Received, expected: Expected, way: str, attempt: _Attempt
    ) -> Recorded:
        arrival = Arrival(ctx.tenant, f"{way} {ctx.principal}", self._clock.now())
        # One future all the way: the loop is woken once, not after each stage.
        future: Future[Recorded] = Future()
        future.set_running_or_notify_cancel()  # a caller that gives up must not stop what others wait for
        try:
            self._workers.submit(self._work, received, arrival, expected, attempt, future)
            return await asyncio.wrap_future(future)
        finally:
            received.close()

    def _work(
        self, received: Received, arrival: Arrival, expected: Expected, attempt: _Attempt, future: Future[Recorded]
    ) -> None:
        try:
            instance = split(received, self._limits)
            attempt.identity = instance.identity
            expected.check_identity(instance.identity)
            study = StudyRef(arrival.tenant, instance.identity.study_instance_uid)
            self.in_use.begin(study)
            future.add_done_callback(lambda _: self.in_use.end(study))
            since = self._contents.mark()
            version = append_contents(self._contents, received, instance, arrival)
            expected.check_file(version.file)
            self._metrics.add(INGEST_BYTES, version.file_bytes)
            self._commit.submit(version, since, future)
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            future.set_exception(error)

    def _committed(self, on_commit: Callable[[], None]) -> None:
        self._metrics.add(INGEST_COMMITS)
        on_commit()

    def _stored(self, attempt: _Attempt, recorded: Recorded) -> StoredInstance:
        assert attempt.identity is not None  # noqa: S101 - it was recorded under it
        self._metrics.add(INGEST_INSTANCES, outcome=recorded.outcome.name.lower())
        warning, comment = _WARNINGS.get(recorded.outcome, (None, ""))
        return StoredInstance(attempt.identity, recorded.outcome, recorded.version, warning, comment)

    def _not_taken(self, error: NearframeError, attempt: _Attempt) -> NotTaken:
        self._metrics.add(INGEST_FAILURES, reason=type(error).__name__)
        return NotTaken(error, attempt.identity)
