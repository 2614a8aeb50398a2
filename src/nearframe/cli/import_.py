"""``nearframe import``: send folders, media and whole archives to a server."""

from __future__ import annotations

import argparse
from pathlib import Path

from nearframe import importer
from nearframe.cli._output import Subparsers, add_parser
from nearframe.cli._transfer import add_transfer_options, transfer


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "import",
        what,
        "Folders, zip and gzip files and DICOMDIR media are searched; files are known by their content, not by their "
        "names. The URL of a DICOMweb server stands for all its studies. An import that was interrupted goes on where "
        "it was. Nothing is changed on this side.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        type=_source,
        metavar="PATH|URL",
        help="a folder, a file, an archive, a DICOMDIR, or a DICOMweb server",
    )
    parser.add_argument("--tenant", default="", metavar="NAME", help="import for this tenant of a nearframe node")
    add_transfer_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    return transfer(options.sources, options, options.tenant)


def _source(text: str) -> importer.Source:
    return importer.WebSource(text) if text.startswith(("http://", "https://")) else Path(text)
