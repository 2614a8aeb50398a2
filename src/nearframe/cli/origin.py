"""``nearframe origin``: run an archive."""

from __future__ import annotations

from nearframe.app import open_origin
from nearframe.cli._node import add_node_parser
from nearframe.cli._output import Subparsers

_GROUPS = ("node", "network", "dicom", "hl7", "storage", "object store", "limits", "work", "search", "caches")


def add_subparser(subparsers: Subparsers, what: str) -> None:
    add_node_parser(subparsers, "origin", what, _GROUPS, open_origin)
