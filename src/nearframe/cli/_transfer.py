"""What commands have in common that store files on a server: options, a progress bar, the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from nearframe import importer
from nearframe.cli._output import add_json_option, print_json
from nearframe.settingkinds import COUNT, NUMBER
from nearframe.units import counted, format_size, parse_size

MAX_PARALLEL = 32
MAX_LISTED = 20

EXIT_PROBLEMS = 1


def add_transfer_options(parser: argparse.ArgumentParser) -> None:
    """Add where to, how fast and how patiently, and how to tell of it."""
    parser.add_argument("--to", required=True, metavar="URL", help="the server, or its DICOMweb service")
    parser.add_argument(
        "--parallel", type=parallel, default=4, metavar="N", help=f"requests at the same time, 1 to {MAX_PARALLEL} (4)"
    )
    parser.add_argument(
        "--rate", type=_rate, metavar="SIZE", help="send at most so much a second, e.g. 5MB (as fast as it goes)"
    )
    parser.add_argument(
        "--retry-for", type=_seconds, default=120.0, metavar="SECONDS", help="while a server is away or busy (120)"
    )
    parser.add_argument("--reconcile", action="store_true", help="afterwards, compare with what the server lists")
    parser.add_argument("--again", action="store_true", help="also send what an interrupted run has sent already")
    parser.add_argument("--state", type=Path, metavar="FOLDER", help="where to remember an interrupted run")
    parser.add_argument("--ca-cert", type=Path, metavar="FILE", help="certificates to trust (PEM)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser)


def transfer(sources: Sequence[importer.Source], options: argparse.Namespace, tenant: str) -> int:
    """Store what the sources have, tell of it, and return the exit code."""
    wanted = importer.Options(
        url=options.to,
        tenant=tenant,
        parallel=options.parallel,
        retry_for_s=options.retry_for,
        resume=not options.again,
        state=options.state,
        ca_cert=options.ca_cert,
        bytes_per_s=options.rate,
        reconcile=options.reconcile,
    )
    console = Console(stderr=True, highlight=False)
    try:
        with TransferBar(console, doing="sending", hidden=options.quiet or options.json) as bar:
            report = importer.run(sources, wanted, bar)
    except KeyboardInterrupt:
        console.print(
            "Interrupted: what was stored stays stored; run the same command again to send the rest.", soft_wrap=True
        )
        raise
    if options.json:
        print_json(report.as_json())
    else:
        _tell(console, report)
    if report.stopped_by is not None:
        return report.stopped_by.exit_code
    return 0 if report.complete and report.found else EXIT_PROBLEMS


def parallel(text: str) -> int:
    with _expecting(f"a whole number from 1 to {MAX_PARALLEL}"):
        number = COUNT.read(text)
        if not 1 <= number <= MAX_PARALLEL:
            raise ValueError
        return number


def _seconds(text: str) -> float:
    with _expecting("a number of seconds"):
        return NUMBER.read(text)


def _rate(text: str) -> int:
    with _expecting("a size of at least a byte, for example 5MB"):
        rate = parse_size(text)
        if rate < 1:
            raise ValueError
        return rate


@contextmanager
def _expecting(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected {what}") from error


class TransferBar:
    """A progress bar on standard error; it is none where that is not a terminal."""

    def __init__(self, console: Console, *, doing: str, hidden: bool) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[files]} files"),
            console=console,
            disable=hidden or not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("searching", total=0, files=0)
        self._console = console
        self._doing = doing
        self._files = 0
        self._total_bytes = 0
        self._waits_for = ""

    def __enter__(self) -> TransferBar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def found(self, files: int, size_bytes: int) -> None:
        self._total_bytes += size_bytes
        self._progress.update(self._task, total=self._total_bytes)

    def searched(self) -> None:
        self._progress.update(self._task, description=self._doing)

    def sent(self, files: int, size_bytes: int) -> None:
        self._files += files
        self._progress.update(self._task, advance=size_bytes, files=self._files)
        self._waits_for = ""

    def waiting(self, problem: str) -> None:
        if problem != self._waits_for:  # once, not at each try
            self._waits_for = problem
            self._console.print(f"Waiting: {problem}", markup=False, soft_wrap=True)


def _tell(console: Console, report: importer.Report) -> None:
    print_problems(console, "Worth a look", report.warned, report.warned_count)
    print_problems(console, "Not stored", report.failed, report.failed_count)
    if report.stopped_by is not None:
        console.print(f"Stopped: {report.stopped_by}", markup=False, soft_wrap=True)
    elif not report.found and not report.failed_count:
        console.print("Nothing to store: there is no DICOM at these places.", markup=False)
    rate = report.stored_bytes / report.seconds if report.seconds else 0
    parts = [f"{report.stored} of {report.found} files stored ({format_size(report.stored_bytes)})"]
    if report.resumed:
        parts.append(f"{report.resumed} sent earlier")
    if report.warned_count:
        parts.append(f"{report.warned_count} with a warning")
    if report.failed_count:
        parts.append(f"{report.failed_count} not stored")
    if report.other:
        parts.append(f"{report.other} not DICOM")
    sys.stdout.write(f"{', '.join(parts)}; {report.seconds:.1f} s, {format_size(rate)}/s\n")
    if report.reconciliation is not None:
        _tell_reconciliation(console, report.reconciliation)


def _tell_reconciliation(console: Console, compared: importer.Reconciliation) -> None:
    print_problems(console, "Not at the server", compared.missing, compared.missing_count)
    parts = [f"{compared.held} of {counted(compared.instances, 'instance')} at the server"]
    if compared.others:
        parts.append(f"{compared.others} more there in the same studies")
    if compared.unidentified:
        parts.append(f"{counted(compared.unidentified, 'file')} without readable UIDs")
    sys.stdout.write(f"compared {counted(compared.studies, 'study')}: {', '.join(parts)}\n")


def print_problems(console: Console, title: str, problems: list[importer.Problem], count: int) -> None:
    if not problems:
        return
    console.print(f"{title}:", style="bold")
    for problem in problems[:MAX_LISTED]:
        code = "" if problem.code is None else f" [{problem.code:04X}]"
        console.print(f"  {problem.name}: {problem.reason}{code}", markup=False, soft_wrap=True)
    if count > MAX_LISTED:
        console.print(f"  … and {count - MAX_LISTED} more; --json lists them", markup=False)
