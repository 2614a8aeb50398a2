"""``nearframe push``: send studies of a node to another DICOMweb server."""

from __future__ import annotations

import argparse

from nearframe import importer
from nearframe.cli import _studies as studies
from nearframe.cli._client import add_asked_node, node_of
from nearframe.cli._output import Subparsers, add_parser
from nearframe.cli._transfer import add_transfer_options, transfer


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "push",
        what,
        "Any DICOMweb server will do (STOW-RS). Instances go as they are stored, from the node by way of this machine. "
        "A push that was interrupted goes on where it was.",
    )
    parser.add_argument("study", nargs="+", metavar="STUDY", help="Study Instance UID, or the beginning of one")
    add_asked_node(parser)
    parser.add_argument("--to-tenant", default="", metavar="NAME", help="for this tenant of a nearframe node")
    add_transfer_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        uids = [studies.text(studies.find(node, beginning), "StudyInstanceUID") for beginning in options.study]
    source = importer.WebSource(options.url, options.tenant or "", tuple(dict.fromkeys(uids)))
    return transfer([source], options, options.to_tenant)
