"""An export from beginning to end: several instances on their way, written one after the other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import BinaryIO, Final

from nearframe.deidentify import Option
from nearframe.dicom.transfersyntax import (
    JPEG2000,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    transfer_syntax,
)
from nearframe.errors import AccessError, NearframeError, RequestError, StorageError, UpstreamError
from nearframe.exporter.content import Deidentification, as_part10, deidentified, described
from nearframe.exporter.forms import Export, Form, opened
from nearframe.exporter.report import Report
from nearframe.importer import WebSource
from nearframe.importer.fetched import Fetched
from nearframe.importer.patience import Patience
from nearframe.importer.report import NoProgress, Progress
from nearframe.importer.server import http_client, service_url
from nearframe.importer.webarchive import RemoteInstance, WebArchive, study_path

#: What readers of media take (PS3.11: general purpose, with and without compression); video besides.
_ON_MEDIA: Final = frozenset(
    {ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLosslessSV1, JPEG2000, JPEG2000Lossless}
)
#: What ends an export: the node, or the place to write to, is of no use for any other instance either.
_ENDS: Final = (UpstreamError, AccessError, StorageError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to export.

    Attributes
    ----------
    into
        A folder; for a zip file its path, or where its bytes go.
    parallel
        Instances on their way at the same time.
    deidentification
        How what is written is de-identified; None to write it as it is stored.
    ca_cert
        Certificates (PEM) to trust instead of the system's.
    """

    form: Form
    into: Path | BinaryIO
    parallel: int = 4
    retry_for_s: float = 120.0
    deidentification: Deidentification | None = None
    ca_cert: Path | None = None

    @property
    def kind(self) -> str:
        """What tells exports apart that must not share a folder."""
        return "as stored" if self.deidentification is None else "de-identified"


def run(source: WebSource, options: Options, progress: Progress | None = None) -> Report:
    """Export some studies of a DICOMweb server, or all.

    What goes wrong with an instance, or on the way, is in the report.

    Raises
    ------
    ConfigurationError
        If nothing can be written there, or the URL or the certificates cannot be used.
    """
    progress = progress or NoProgress()
    began = time.monotonic()
    report = Report()
    url = service_url(source.url, "--url")
    with http_client(source.tenant, options.parallel, options.ca_cert) as client:
        archive = WebArchive(client, url, Patience(options.retry_for_s, Event().wait, progress.waiting))
        try:
            with opened(options.form, options.into, options.kind) as export:
                _Run(archive, export, options, report, progress).export_all(source.studies)
        except _ENDS as error:
            report.stopped_by = error
    report.seconds = time.monotonic() - began
    return report


class _Run:
    """One export. Instances are fetched ahead by workers, everything else is one after the other."""

    def __init__(
        self, archive: WebArchive, export: Export, options: Options, report: Report, progress: Progress
    ) -> None:
        self._archive = archive
        self._export = export
        self._options = options
        self._report = report
        self._progress = progress

    def export_all(self, studies: Iterable[str]) -> None:
        with ThreadPoolExecutor(self._options.parallel, thread_name_prefix="export") as workers:
            on_their_way: deque[tuple[RemoteInstance, Future[Fetched]]] = deque()
            try:
                for instance in self._wanted(studies or self._archive.studies()):
                    on_their_way.append((instance, workers.submit(self._fetch, instance)))
                    if len(on_their_way) > self._options.parallel:
                        self._take(*on_their_way.popleft())
                self._progress.searched()
                while on_their_way:
                    self._take(*on_their_way.popleft())
            finally:
                for _, coming in on_their_way:
                    if not coming.cancel() and coming.exception() is None:
                        coming.result().close()

    def _wanted(self, studies: Iterable[str]) -> Iterator[RemoteInstance]:
        for study in studies:
            self._report.studies += 1
            try:
                instances = self._archive.instances(study)
            except RequestError as error:
                self._report.fail(study_path(study), str(error))
                continue
            for instance in instances:
                self._report.found += 1
                if self._export.holds(self._uid_in_export(instance)):
                    self._report.held += 1
                else:
                    self._progress.found(1, 0)
                    yield instance

    def _uid_in_export(self, instance: RemoteInstance) -> str:
        how = self._options.deidentification
        if how is None or how.profile.keeps(Option.UIDS):
            return instance.sop_instance_uid
        return how.pseudonyms.uid(instance.sop_instance_uid)

    def _fetch(self, instance: RemoteInstance) -> Fetched:
        fetched = self._archive.fetch(instance)
        if self._options.form is not Form.DICOMDIR or self._options.deidentification is not None:
            return fetched
        try:
            made = self._for_medium(instance, fetched)
        except BaseException:
            fetched.close()
            raise
        if made is not fetched:
            fetched.close()
        return made

    def _for_medium(self, instance: RemoteInstance, fetched: Fetched) -> Fetched:
        syntax = transfer_syntax(described(fetched).transfer_syntax_uid)
        if syntax.uid in _ON_MEDIA or syntax.is_video:
            return as_part10(fetched)
        return self._archive.fetch(instance, ExplicitVRLittleEndian)

    def _take(self, instance: RemoteInstance, coming: Future[Fetched]) -> None:
        try:
            with closing(coming.result()) as fetched:
                self._progress.found(0, fetched.size)
                self._write(fetched)
                self._progress.sent(1, fetched.size)
        except _ENDS:
            raise
        except NearframeError as error:
            self._report.fail(instance.path, str(error))

    def _write(self, fetched: Fetched) -> None:
        how = self._options.deidentification
        if how is None:
            self._add(fetched)
            return
        made, masked = deidentified(fetched, how)
        with closing(made):
            name = self._add(made)
        if masked:
            self._report.masked.append(name)

    def _add(self, fetched: Fetched) -> str:
        written = self._export.add(fetched)
        self._report.written += 1
        self._report.written_bytes += written.size_bytes
        return written.name
