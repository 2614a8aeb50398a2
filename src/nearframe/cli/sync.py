"""``nearframe sync``: bring a study into a folder, as files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

from nearframe import client
from nearframe.cli import _studies as studies
from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json
from nearframe.client import Client, Layout, Study
from nearframe.context import Urgency
from nearframe.errors import MalformedRequest, NotFound
from nearframe.units import counted, format_size
from nearframe.wire.manifest import InstanceEntry, Manifest

_UID_CHARS = 64


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "sync",
        what,
        "The files are byte for byte those that were stored. Run it again to follow corrections: what is held is not "
        "moved again. An interrupted run goes on where it was, at another node if need be.",
    )
    parser.add_argument("study", metavar="STUDY", help="Study Instance UID, or the beginning of one")
    parser.add_argument(
        "--from",
        dest="edges",
        action="append",
        required=True,
        metavar="URL",
        help="a node to ask; several are asked in the order given when one fails, then those that they know",
    )
    parser.add_argument("--only", action="store_true", help="ask no other nodes than those given")
    parser.add_argument("--into", required=True, type=Path, metavar="DIR", help="the folder; one for each study")
    parser.add_argument(
        "--layout",
        choices=[layout.value for layout in Layout],
        default=Layout.FLAT.value,
        help="all files side by side, or a folder for each series (flat)",
    )
    parser.add_argument(
        "--as-stored", action="store_true", help="move frames as they are stored: more bytes, nothing to decode here"
    )
    parser.add_argument(
        "--urgency",
        choices=[urgency.name.lower() for urgency in Urgency],
        default=Urgency.ROUTINE.name.lower(),
        help="what nodes take it for where several want something (routine)",
    )
    parser.add_argument("--tenant", default="", metavar="NAME", help="ask about this tenant of the nodes")
    parser.add_argument("--ca-cert", type=Path, metavar="FILE", help="certificates to trust (PEM)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    console = Console(stderr=True, highlight=False)
    folder = client.folder_in(options.into)
    with Client(folder.path, options.edges, tenant=options.tenant, ca_cert=options.ca_cert, only=options.only) as asker:
        try:
            with _Bar(console, hidden=options.quiet or options.json) as bar:
                study = _synced(asker, options, bar)
                exported = client.export(study, options.into, Layout(options.layout))
                if asker.report.how != "unchanged":
                    folder.prune()
        except KeyboardInterrupt:
            console.print(
                "Interrupted: what has come is kept; run the same command again for the rest.", soft_wrap=True
            )
            raise
        report = asker.report
    if options.json:
        print_json(_summary(study, report, exported))
        return 0
    changed = f"{exported.written} written" + (f", {exported.removed} removed" if exported.removed else "")
    sys.stdout.write(
        f"{counted(exported.files, 'file')} ({changed}); moved {format_size(report.moved_bytes)} in "
        f"{counted(report.requests, 'request')}, saved {format_size(report.saved_bytes)}\n"
    )
    return 0


def _synced(asker: Client, options: argparse.Namespace, bar: _Bar) -> Study:
    """Sync the study that was named; its beginning is looked up only if it is not a UID itself."""
    levels, urgency = None if options.as_stored else 0, Urgency[options.urgency.upper()]
    held = client.exported_study(options.into)
    uid = held if held.startswith(options.study) else options.study
    try:
        return asker.sync(uid, levels=levels, urgency=urgency, progress=bar)
    except NotFound:
        if len(uid) >= _UID_CHARS or uid == held:
            raise
        return asker.sync(_found(asker, uid), levels=levels, urgency=urgency, progress=bar)


def _found(asker: Client, beginning: str) -> str:
    uids = [studies.text(one, "StudyInstanceUID") for one in asker.search({"limit": "1000"})]
    matching = [uid for uid in uids if uid.startswith(beginning)]
    if not matching:
        raise NotFound("study at these nodes; nearframe study list shows which there are")
    if len(matching) > 1:
        raise MalformedRequest(f"{len(matching)} studies begin like that; give more of the UID")
    return matching[0]


def _summary(study: Study, report: client.SyncReport, exported: client.Exported) -> dict[str, Any]:
    return {
        "study": study.study_instance_uid,
        "root": study.root.hex(),
        "how": report.how,
        "requests": report.requests,
        "moved_bytes": report.moved_bytes,
        "saved_bytes": report.saved_bytes,
        "study_bytes": report.study_bytes,
        "files": exported.files,
        "written": exported.written,
        "removed": exported.removed,
        "problems": [{"node": url, "problem": problem} for url, problem in report.problems],
    }


class _Bar(client.Progress):
    """A progress bar on standard error; none where that is not a terminal. What goes wrong is said in any case."""

    def __init__(self, console: Console, *, hidden: bool) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            disable=hidden or not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("asking", total=None)
        self._said: set[str] = set()

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def known(self, manifest: Manifest, lacking_bytes: int) -> None:
        self._progress.update(self._task, description="receiving", total=lacking_bytes or None, completed=0)

    def arrived(self, arrival: client.Arrival) -> None:
        # Of the contents, not of the line: a rendition that came is the frame that was lacking.
        if arrival.resolutions is None:
            self._progress.advance(self._task, _length(arrival.instance, arrival.frame_number))

    def failed(self, url: str, problem: str) -> None:
        said = problem if url in problem else f"{url}: {problem}"
        if said not in self._said:  # once, not at each try
            self._said.add(said)
            self._console.print(said, markup=False, soft_wrap=True)


def _length(instance: InstanceEntry, frame_number: int | None) -> int:
    return 0 if frame_number is None else instance.frames.lengths[frame_number - 1]
