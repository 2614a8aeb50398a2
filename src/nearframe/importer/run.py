"""An import from beginning to end: one thread finds files, several send them in batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import httpx

from nearframe.errors import NearframeError, RequestError, UpstreamError, UpstreamUnavailable
from nearframe.importer.identity import archive_identity
from nearframe.importer.journal import Journal, default_folder
from nearframe.importer.pace import Pace
from nearframe.importer.patience import Patience
from nearframe.importer.reconcile import Ledger
from nearframe.importer.report import NoProgress, Problem, Progress, Report
from nearframe.importer.sender import Loaded, Sender, Verdict, load
from nearframe.importer.server import http_client, service_url
from nearframe.importer.sources import NOT_THERE, Finding, Found, Missing, Other, find, identity_of, require_some
from nearframe.importer.webarchive import WebArchive, WebSource
from nearframe.units import MIB

#: What can be imported: files, folders and media, and other archives.
Source: TypeAlias = Path | WebSource

#: How many batches may wait to be sent. The search runs ahead, so that progress knows the total.
_RUN_AHEAD = 1024
#: What a batch from an archive held in memory counts for: two of those, and the search waits.
_HELD_WEIGHT = _RUN_AHEAD // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to import.

    Attributes
    ----------
    url
        The server, or its DICOMweb service where that is not below ``/dicomweb``.
    tenant
        Tenant to import for; empty for the server's own.
    parallel
        Requests at the same time.
    batch_files, batch_bytes
        A request is closed at either; a larger file goes alone, streamed.
    retry_for_s
        How long a batch is tried again while the server is away or busy.
    state
        Folder for what an interrupted run has sent, or None for the user's own.
    resume
        False to send everything again.
    ca_cert
        Certificates (PEM) to trust instead of the system's.
    bytes_per_s
        At most so much is sent, by all requests together; None for as fast as it goes.
    reconcile
        True to compare afterwards what was found with what the target lists.
    """

    url: str
    tenant: str = ""
    parallel: int = 4
    batch_files: int = 32
    batch_bytes: int = 8 * MIB
    retry_for_s: float = 120.0
    state: Path | None = None
    resume: bool = True
    ca_cert: Path | None = None
    bytes_per_s: float | None = None
    reconcile: bool = False

    @property
    def service_url(self) -> str:
        """The DICOMweb service."""
        return service_url(self.url, "--to")


def run(sources: Sequence[Source], options: Options, progress: Progress | None = None) -> Report:
    """Import everything DICOM at and below paths, and what other archives have.

    What goes wrong is in the report: an exception means that nothing was tried.

    Raises
    ------
    ConfigurationError
        If none of the paths is there, or the URL, the certificates or the folder of the journal cannot be used.
    """
    if not any(isinstance(source, WebSource) for source in sources):
        require_some([source for source in sources if isinstance(source, Path)])
    progress = progress or NoProgress()
    target = (options.service_url, options.tenant)
    began = time.monotonic()
    with http_client(options.tenant, options.parallel, options.ca_cert) as client:
        try:
            archive = archive_identity(client, options.service_url, _patience(options, progress))
        except UpstreamError as error:
            return Report(stopped_by=error)
        with Journal(options.state or default_folder(), *target, archive=archive) as journal:
            running = _Run(client, options, journal, progress)
            running.import_all(sources)
            running.report.seconds = time.monotonic() - began
            if running.report.complete:
                journal.forget()
    return running.report


def _patience(options: Options, progress: Progress) -> Patience:
    return Patience(options.retry_for_s, threading.Event().wait, progress.waiting)


class _Run:
    """One import. The searching thread reads; workers send and report under a lock."""

    def __init__(self, client: httpx.Client, options: Options, journal: Journal, progress: Progress) -> None:
        self.report = Report()
        self._options = options
        self._journal = journal
        self._progress = progress
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._room = threading.Semaphore(_RUN_AHEAD)
        self._patience = Patience(options.retry_for_s, self._stop.wait, self._note_retry)
        pace = Pace(options.bytes_per_s, self._stop.wait)
        self._sender = Sender(client, options.service_url, self._patience, pace)
        self._target = WebArchive(client, options.service_url, self._patience)
        self._ledger: Ledger | None = None

    def import_all(self, sources: Iterable[Source]) -> None:
        with Ledger() if self._options.reconcile else nullcontext() as self._ledger:
            try:
                with ExitStack() as opened:
                    self._send_all(self._findings(sources, opened))
            except NearframeError as error:  # a source cannot be searched
                self._end(error)
            if self._ledger is not None and self.report.stopped_by is None:
                self._reconcile(self._ledger)

    def _send_all(self, findings: Iterable[Finding]) -> None:
        with ThreadPoolExecutor(self._options.parallel, thread_name_prefix="import") as workers:
            try:
                for batch in self._batches(findings):
                    if self._stop.is_set():
                        break
                    weight = _HELD_WEIGHT if batch[0].held_by is not None else 1
                    for _ in range(weight):
                        self._room.acquire()
                    workers.submit(self._send, batch, weight)
                self._progress.searched()
            except BaseException:
                self._stop.set()
                raise

    def _reconcile(self, ledger: Ledger) -> None:
        try:
            self.report.reconciliation = ledger.reconciled(self._target)
        except NearframeError as error:
            self._end(error)

    # -- finding ---------------------------------------------------------------------------

    def _findings(self, sources: Iterable[Source], opened: ExitStack) -> Iterator[Finding]:
        for source in sources:
            if isinstance(source, Path):
                yield from find([source])
            else:
                client = http_client(source.tenant, self._options.parallel, self._options.ca_cert)
                url = service_url(source.url, "an archive to read from")
                archive = WebArchive(opened.enter_context(client), url, self._patience)
                yield from archive.find(source.studies)

    def _batches(self, findings: Iterable[Finding]) -> Iterator[list[Found]]:
        """Group what is to be sent; what one archive in memory holds stays together, so that it is soon let go."""
        batch: list[Found] = []
        size = 0
        for found in self._to_send(findings):
            full = len(batch) >= self._options.batch_files or size + found.size > self._options.batch_bytes
            if batch and (full or batch[0].held_by is not found.held_by):
                yield batch
                batch, size = [], 0
            batch.append(found)
            size += found.size
        if batch:
            yield batch

    def _to_send(self, findings: Iterable[Finding]) -> Iterator[Found]:
        for finding in findings:
            match finding:
                case Problem():
                    self._fail(finding)
                case Missing():
                    self._warn(Problem(finding.name, NOT_THERE))
                case Other():
                    self.report.other += 1
                case Found():
                    if self._note(finding):
                        yield finding

    def _note(self, found: Found) -> bool:
        """Count a file; True if it is to be sent."""
        self.report.found += 1
        self.report.found_bytes += found.size
        if self._ledger is not None:
            self._ledger.add(identity_of(found), found.name)
        if self._options.resume and found.key in self._journal:
            self.report.resumed += 1
            return False
        with self._lock:
            self._progress.found(1, found.size)
        return True

    # -- sending ---------------------------------------------------------------------------

    def _send(self, batch: list[Found], weight: int) -> None:
        try:
            with ExitStack() as fetched:
                if not self._stop.is_set():
                    self._store(self._load(batch, fetched))
        except NearframeError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - a worker's end: the import stops and says why
            self._end(UpstreamUnavailable(f"the import failed ({type(error).__name__}: {error})"))
        finally:
            self._room.release(weight)

    def _load(self, batch: list[Found], fetched: ExitStack) -> list[Loaded]:
        loaded = []
        for found in batch:
            try:
                here = self._fetched(found, fetched)
                loaded.append(load(here, self._options.batch_bytes))
            except (OSError, RequestError) as error:
                self._note_verdict(Verdict(found, stored=False, reason=str(error)))
        return loaded

    def _fetched(self, found: Found, fetched: ExitStack) -> Found:
        """Return a file that can be read here: itself, or what was fetched, which is let go with `fetched`."""
        if found.fetch is None:
            return found
        here = fetched.enter_context(closing(found.fetch()))
        with self._lock:
            self.report.found_bytes += here.size
            self._progress.found(0, here.size)
        return replace(found, size=here.size, open=here.open, fetch=None)

    def _store(self, batch: list[Loaded]) -> None:
        """Send what was loaded in one request, and what is read as it is sent in one each."""
        small = [loaded for loaded in batch if loaded.data is not None]
        for together in [small] * bool(small) + [[loaded] for loaded in batch if loaded.data is None]:
            with self._lock:
                self.report.sent_bytes += sum(loaded.file.size for loaded in together)
            try:
                for verdict in self._sender.store(together):
                    self._note_verdict(verdict)
            except OSError as error:  # only a file read as it is sent
                self._note_verdict(Verdict(together[0].file, stored=False, reason=str(error)))

    def _note_verdict(self, verdict: Verdict) -> None:
        found = verdict.file
        if verdict.stored:
            self._journal.add([found.key])
        with self._lock:
            if verdict.stored:
                self.report.stored += 1
                self.report.stored_bytes += found.size
            if verdict.reason:
                note = self.report.warn if verdict.stored else self.report.fail
                note(Problem(found.name, verdict.reason, verdict.code))
            self._progress.sent(1, found.size)

    def _fail(self, problem: Problem) -> None:
        with self._lock:
            self.report.fail(problem)

    def _warn(self, problem: Problem) -> None:
        with self._lock:
            self.report.warn(problem)

    def _note_retry(self, problem: str) -> None:
        with self._lock:
            self.report.retries += 1
            self._progress.waiting(problem)

    def _end(self, error: NearframeError) -> None:
        """Stop the import: the target is of no use now."""
        with self._lock:
            if self.report.stopped_by is None:
                self.report.stopped_by = error
        self._stop.set()
