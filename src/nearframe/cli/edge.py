"""``nearframe edge``: run an edge."""

from __future__ import annotations

from nearframe.app import open_edge
from nearframe.cli._node import add_node_parser
from nearframe.cli._output import Subparsers

_GROUPS = ("node", "network", "edge", "storage", "limits", "work", "search", "caches")


def add_subparser(subparsers: Subparsers) -> None:
    add_node_parser(subparsers, "edge", "run an edge: follows its upstream, serves what it holds", _GROUPS, open_edge)
