"""``nearframe export``: studies to folders, zip files and media, as they are or de-identified."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import BinaryIO, Final

from rich.console import Console

from nearframe import exporter, importer
from nearframe.cli import _studies as studies
from nearframe.cli._client import add_node_options, node_of
from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json
from nearframe.cli._transfer import EXIT_PROBLEMS, TransferBar, parallel, print_problems
from nearframe.deidentify import BASIC, Option, Profile, Pseudonyms, keyed_pseudonyms, options_named, read_profile
from nearframe.errors import ConfigurationError
from nearframe.units import counted, format_size

_STDOUT: Final = "-"


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "export",
        what,
        "As folders or in a zip file everything is byte for byte as it is stored, with an index and a list of digests; "
        "a medium has a DICOMDIR. An export to folders that was interrupted goes on where it was. De-identified is "
        "what PS3.15 Annex E makes of it; what may still tell who somebody is, is not written but listed.",
    )
    what_to_write = parser.add_mutually_exclusive_group(required=True)
    what_to_write.add_argument(
        "study", nargs="*", default=[], metavar="STUDY", help="Study Instance UID, or the beginning of one"
    )
    what_to_write.add_argument("--all", action="store_true", help="all studies of the node")
    parser.add_argument(
        "--as",
        dest="form",
        choices=[form.value for form in exporter.Form],
        default=exporter.Form.FOLDERS.value,
        help="numbered folders, a zip file, or a medium with DICOMDIR (folders)",
    )
    parser.add_argument(
        "--into", required=True, metavar="PATH", help="a folder, or the zip file; - for standard output"
    )
    parser.add_argument("--deidentify", metavar="PROFILE", help=f"{BASIC}, or a profile file")
    parser.add_argument(
        "--keep",
        type=lambda text: text.split(","),
        metavar="WHAT,…",
        help=f"with --deidentify {BASIC}: keep {', '.join(option.word for option in Option)}",
    )
    parser.add_argument(
        "--key", type=Path, metavar="FILE", help="same identifiers as in the last export with this key; made if missing"
    )
    parser.add_argument(
        "--parallel", type=parallel, default=4, metavar="N", help="instances on their way at a time (4)"
    )
    add_node_options(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    wanted = exporter.Options(
        form=exporter.Form(options.form),
        into=_place(options),
        parallel=options.parallel,
        deidentification=_deidentification(options),
        ca_cert=options.ca_cert,
    )
    with node_of(options) as node:
        uids = [studies.text(studies.find(node, beginning), "StudyInstanceUID") for beginning in options.study]
    source = importer.WebSource(options.url, options.tenant or "", tuple(dict.fromkeys(uids)))
    console = Console(stderr=True, highlight=False)
    with TransferBar(console, doing="exporting", hidden=options.quiet or options.json) as bar:
        report = exporter.run(source, wanted, bar)
    # Where the files go to standard output, words go beside it.
    out = sys.stderr if options.into == _STDOUT else sys.stdout
    if options.json:
        print_json(report.as_json(), out)
    else:
        print_problems(console, "Not written", report.failed, report.failed_count)
        if report.stopped_by is not None:
            console.print(f"Stopped: {report.stopped_by}", markup=False, soft_wrap=True)
        out.write(f"{_summary(report)}\n")
    if report.stopped_by is not None:
        return report.stopped_by.exit_code
    return 0 if report.complete and report.found else EXIT_PROBLEMS


def _place(options: argparse.Namespace) -> Path | BinaryIO:
    if options.into != _STDOUT:
        return Path(options.into)
    if sys.stdout.isatty():
        raise ConfigurationError("--into - writes a zip file to standard output: send that to a file or a program")
    return sys.stdout.buffer


def _deidentification(options: argparse.Namespace) -> exporter.Deidentification | None:
    if options.deidentify is None:
        if options.keep or options.key:
            raise ConfigurationError("--keep and --key go with --deidentify")
        return None
    if options.deidentify == BASIC:
        profile = Profile(options_named(options.keep or ()))
    elif options.keep:
        raise ConfigurationError(f"a profile file says itself what is kept; --keep goes with --deidentify {BASIC}")
    else:
        profile = read_profile(Path(options.deidentify))
    return exporter.Deidentification(profile, keyed_pseudonyms(options.key) if options.key else Pseudonyms())


def _summary(report: exporter.Report) -> str:
    parts = [f"{report.written} of {counted(report.found, 'instance')} written ({format_size(report.written_bytes)})"]
    if report.held:
        parts.append(f"{report.held} written earlier")
    if report.masked:
        parts.append(f"{len(report.masked)} with masked pictures")
    if report.failed_count:
        parts.append(f"{report.failed_count} not written")
    return f"{', '.join(parts)}; {counted(report.studies, 'study')}, {report.seconds:.1f} s"
