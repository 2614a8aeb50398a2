"""``nearframe edge outbox`` and ``nearframe edge retry``: what an edge has taken in and its upstream lacks."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from nearframe.cli._client import asks_node, edge_of
from nearframe.cli._output import Subparsers, add_parser, print_json, print_table
from nearframe.units import counted, format_age

EXIT_REFUSED: Final = 1
EXIT_NOTHING_MATCHED: Final = 1


def add_outbox(commands: Subparsers) -> None:
    """Add both commands."""
    parser = add_parser(
        commands,
        "outbox",
        "what was taken in here and is not upstream yet",
        "By study: how many instances wait, since when, and why any were refused; then the exit code is 1.",
    )
    asks_node(parser, run_outbox)
    retry = add_parser(commands, "retry", "offer what was refused again")
    retry.add_argument("study", nargs="?", metavar="STUDY", help="Study Instance UID (default: every study)")
    asks_node(retry, run_retry)


def run_outbox(options: argparse.Namespace) -> int:
    with edge_of(options) as node:
        found: dict[str, Any] = node.json("/api/outbox")
    if options.json:
        print_json(found)
    else:
        _print(found)
    return EXIT_REFUSED if found["refused"] else 0


def run_retry(options: argparse.Namespace) -> int:
    with edge_of(options) as node:
        found = node.post("/api/outbox/retry", {"study": options.study} if options.study else {})
    nothing_matched = bool(options.study) and not found["tried"]
    if options.json:
        print_json(found)
    elif nothing_matched:
        print("Nothing of such a study is refused here; nearframe edge outbox lists what is.", file=sys.stderr)
    else:
        print(f"{counted(found['tried'], 'instance')} will be offered again.")
    return EXIT_NOTHING_MATCHED if nothing_matched else 0


def _print(found: dict[str, Any]) -> None:
    waiting = found["spooled"] + found["sent"]
    if not waiting and not found["refused"]:
        print(f"Everything is upstream ({counted(found['verified'], 'instance')} so far).")
    else:
        print(f"{waiting} waiting, {found['refused']} refused, {found['verified']} upstream so far.")
    if found["studies"]:
        columns = ("instances>", "state", "oldest>", "reason", "study instance UID")
        rows = (
            (one["instances"], one["state"], format_age(one["oldest_s"]), one["reason"], one["study"])
            for one in found["studies"]
        )
        print_table(None, columns, rows)
