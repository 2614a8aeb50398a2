"""``nearframe dicom send``: files and folders to a peer (C-STORE)."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from nearframe import log
from nearframe.cli._dicom_peer import add_peer_options, peer_of, timeouts_of
from nearframe.cli._output import Subparsers, add_parser, print_json
from nearframe.dimse.channel import Timeouts
from nearframe.dimse.scu import Peer
from nearframe.dimse.scu_files import Outgoing, Sent, batches, outgoing, send
from nearframe.errors import RequestError, UpstreamError
from nearframe.importer.sources import Found, Missing, Other, find, require_some
from nearframe.units import counted, format_size

EXIT_PROBLEMS: Final = 1
_MAX_LISTED: Final = 20


@dataclass(slots=True)
class _Report:
    """What became of it all.

    Attributes
    ----------
    problems
        File and reason.
    stopped_by
        What ended it before every file was sent.
    """

    files: list[Outgoing] = field(default_factory=list)
    stored: int = 0
    stored_bytes: int = 0
    warnings: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    other: int = 0
    stopped_by: UpstreamError | None = None
    seconds: float = 0.0


def add_send(commands: Subparsers) -> None:
    parser = add_parser(
        commands,
        "send",
        "send files to a peer (C-STORE)",
        "Folders, zip and gzip files and DICOMDIR media are searched; each object goes as it is, in its own transfer "
        "syntax. Sending again does no harm.",
    )
    add_peer_options(parser, timeout_s=120)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a folder, a file, an archive, a DICOMDIR")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    peer = peer_of(options)
    console = Console(stderr=True, highlight=False)
    report = look_into(options.paths)
    started = time.monotonic()
    with _Bar(console, report.files, hidden=options.quiet or options.json) as bar:
        try:
            asyncio.run(_send(peer, report, bar, timeouts_of(options)))
        except UpstreamError as error:
            report.stopped_by = error
    report.seconds = time.monotonic() - started
    if options.json:
        print_json(_as_json(report))
    else:
        _tell(console, report)
    if report.stopped_by is not None:
        return report.stopped_by.exit_code
    return EXIT_PROBLEMS if report.problems or not report.files else 0


def look_into(paths: Sequence[Path]) -> _Report:
    """Find what there is to send; raises ConfigurationError if none of the paths is there."""
    require_some(paths)
    report = _Report()
    for found in find(paths):
        match found:
            case Found():
                try:
                    report.files.append(outgoing(found))
                except (RequestError, OSError) as error:
                    report.problems.append((found.name, log.blank(str(error))))
            case Other():
                report.other += 1
            case Missing():
                pass  # of a medium of which a part is sent
            case problem:
                report.problems.append((problem.name, problem.reason))
    return report


async def _send(peer: Peer, report: _Report, bar: _Bar, timeouts: Timeouts) -> None:
    for batch in batches(report.files):
        async with aclosing(send(peer, batch, timeouts)) as all_sent:
            async for sent in all_sent:
                _note(report, sent)
                bar.sent(sent.outgoing)


def _note(report: _Report, sent: Sent) -> None:
    if not sent.is_stored:
        report.problems.append((sent.outgoing.file.name, sent.said))
        return
    report.stored += 1
    report.stored_bytes += sent.outgoing.file.size
    report.warnings += sent.status != 0


def _as_json(report: _Report) -> dict[str, Any]:
    return {
        "found": len(report.files),
        "stored": report.stored,
        "stored_bytes": report.stored_bytes,
        "warnings": report.warnings,
        "not_dicom": report.other,
        "problems": [{"file": name, "reason": reason} for name, reason in report.problems],
        "stopped_by": None if report.stopped_by is None else str(report.stopped_by),
        "seconds": round(report.seconds, 3),
    }


def _tell(console: Console, report: _Report) -> None:
    for name, reason in report.problems[:_MAX_LISTED]:
        console.print(f"{name}: {reason}", markup=False, soft_wrap=True)
    if len(report.problems) > _MAX_LISTED:
        console.print(f"… and {len(report.problems) - _MAX_LISTED} more; --json lists them", markup=False)
    if report.stopped_by is not None:
        console.print(f"Stopped: {log.blank(str(report.stopped_by))}", markup=False, soft_wrap=True)
    elif not report.files:
        console.print("Nothing to send: there is no DICOM file at these paths.", markup=False)
    rate = report.stored_bytes / report.seconds if report.seconds else 0
    warned = f", {report.warnings} with a warning" if report.warnings else ""
    sys.stdout.write(
        f"{report.stored} of {counted(len(report.files), 'file')} stored ({format_size(report.stored_bytes)})"
        f"{warned}; {report.seconds:.1f} s, {format_size(rate)}/s\n"
    )


class _Bar:
    """A progress bar on standard error; none where that is not a terminal."""

    def __init__(self, console: Console, files: Iterable[Outgoing], *, hidden: bool) -> None:
        self._progress = Progress(
            TextColumn("sending"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            disable=hidden or not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("sending", total=sum(one.file.size for one in files))

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def sent(self, file: Outgoing) -> None:
        self._progress.advance(self._task, file.file.size)
