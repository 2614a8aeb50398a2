"""An import from beginning to end: one thread finds files, several send them in batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from nearframe import __version__
from nearframe.errors import ConfigurationError, NearframeError, UpstreamError, UpstreamUnavailable
from nearframe.importer.identity import archive_identity
from nearframe.importer.journal import Journal, default_folder
from nearframe.importer.patience import Patience
from nearframe.importer.report import NoProgress, Problem, Progress, Report
from nearframe.importer.sender import Loaded, Sender, Verdict, load
from nearframe.importer.sources import NOT_THERE, Finding, Found, Missing, Other, find, require_some
from nearframe.units import MIB

#: How many batches may wait to be sent. The search runs ahead, so that progress knows the total.
_RUN_AHEAD = 1024
#: What a batch from an archive held in memory counts for: two of those, and the search waits.
_HELD_WEIGHT = _RUN_AHEAD // 2

#: Names the tenant of a request to a nearframe node; other servers ignore it.
TENANT_HEADER = "Nearframe-Tenant"

_TIMEOUT = httpx.Timeout(connect=10, read=600, write=120, pool=30)  # an answer may follow gigabytes of fsync


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
        Certificates (PEM) to trust besides the system's.
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

    @property
    def service_url(self) -> str:
        """The DICOMweb service."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("--to wants the URL of a server, for example http://127.0.0.1:8042")
        return self.url.rstrip("/") + ("" if parts.path.strip("/") else "/dicomweb")


def run(paths: Sequence[Path], options: Options, progress: Progress | None = None) -> Report:
    """Import everything DICOM at and below `paths`.

    What goes wrong is in the report: an exception means that nothing was tried.

    Raises
    ------
    ConfigurationError
        If none of the paths is there, or the URL, the certificates or the folder of the journal cannot be used.
    """
    require_some(paths)
    progress = progress or NoProgress()
    target = (options.service_url, options.tenant)
    began = time.monotonic()
    with _client(options) as client:
        try:
            archive = archive_identity(client, options.service_url, _patience(options, progress))
        except UpstreamError as error:
            return Report(stopped_by=error)
        with Journal(options.state or default_folder(), *target, archive=archive) as journal:
            running = _Run(client, options, journal, progress)
            running.import_all(paths)
            running.report.seconds = time.monotonic() - began
            if running.report.complete:
                journal.forget()
    return running.report


def _patience(options: Options, progress: Progress) -> Patience:
    return Patience(options.retry_for_s, threading.Event().wait, progress.waiting)


def _client(options: Options) -> httpx.Client:
    headers = {"User-Agent": f"nearframe-import/{__version__}"}
    if options.tenant:
        headers[TENANT_HEADER] = options.tenant
    try:
        verify = str(options.ca_cert) if options.ca_cert else True
        limits = httpx.Limits(max_connections=options.parallel, max_keepalive_connections=options.parallel)
        return httpx.Client(timeout=_TIMEOUT, headers=headers, limits=limits, verify=verify, trust_env=False)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--ca-cert cannot be used: {error}") from error


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
        patience = Patience(options.retry_for_s, self._stop.wait, self._note_retry)
        self._sender = Sender(client, options.service_url, patience)

    def import_all(self, paths: Iterable[Path]) -> None:
        with ThreadPoolExecutor(self._options.parallel, thread_name_prefix="import") as workers:
            try:
                for batch in self._batches(find(paths)):
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

    # -- finding ---------------------------------------------------------------------------

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
        if self._options.resume and found.key in self._journal:
            self.report.resumed += 1
            return False
        with self._lock:
            self._progress.found(1, found.size)
        return True

    # -- sending ---------------------------------------------------------------------------

    def _send(self, batch: list[Found], weight: int) -> None:
        try:
            if not self._stop.is_set():
                self._store(self._load(batch))
        except NearframeError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - a worker's end: the import stops and says why
            self._end(UpstreamUnavailable(f"the import failed ({type(error).__name__}: {error})"))
        finally:
            self._room.release(weight)

    def _load(self, batch: list[Found]) -> list[Loaded]:
        loaded = []
        for found in batch:
            try:
                loaded.append(load(found, self._options.batch_bytes))
            except OSError as error:
                self._note_verdict(Verdict(found, stored=False, reason=str(error)))
        return loaded

    def _store(self, batch: list[Loaded]) -> None:
        if not batch:
            return
        with self._lock:
            self.report.sent_bytes += sum(loaded.file.size for loaded in batch)
        try:
            for verdict in self._sender.store(batch):
                self._note_verdict(verdict)
        except OSError as error:  # only a file read as it is sent, and such a file goes alone
            self._note_verdict(Verdict(batch[0].file, stored=False, reason=str(error)))

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
