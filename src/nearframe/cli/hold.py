"""``nearframe hold``: legal holds, which nothing deletes around."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from nearframe.cli._client import asks_node, node_of
from nearframe.cli._output import Subparsers, add_parser, print_json, print_table
from nearframe.cli._patients import PATIENT, patient_of, shown
from nearframe.cli._values import at_least, brief, moment
from nearframe.errors import NotFound
from nearframe.units import counted

if TYPE_CHECKING:
    from nearframe.cli._asking import Node

_PATH: Final = "/api/holds"


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "hold",
        what,
        "What is on hold stays in view, in its study and with its patient: it is neither deleted, merged away, moved, "
        "expired nor purged until every hold on it is released.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = add_parser(commands, "add", "keep a study, or every study of a patient, those still to come included")
    what_ = add.add_mutually_exclusive_group(required=True)
    what_.add_argument("--study", metavar="UID", help="Study Instance UID, or the beginning of one that is in view")
    what_.add_argument("--patient", metavar="PATIENT", help=PATIENT)
    _add_reason(add, run_add)
    release = add_parser(commands, "release", "end a hold; the record of it stays")
    release.add_argument("hold", type=at_least(0), metavar="NUMBER", help="as nearframe hold list shows it")
    _add_reason(release, run_release)
    list_ = add_parser(commands, "list", "list holds, the latest first")
    list_.add_argument("--study", metavar="UID", help="only those that keep, or kept, this study")
    list_.add_argument("--all", action="store_true", help="also those that are released")
    asks_node(list_, run_list)


def _add_reason(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why: it stays in the record")
    asks_node(parser, run)


def run_add(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        named = {"study": _whole(node, options.study)} if options.study else {"patient": patient_of(options.patient)}
        placed = node.post(_PATH, named | {"reason": options.reason})
    if options.json:
        print_json(placed)
    else:
        print(f"Hold {placed['id']} keeps {counted(placed['studies'], 'study')}.")
        print(f"nearframe hold release {placed['id']} ends it.")
    return 0


def _whole(node: Node, beginning: str) -> str:
    from nearframe.cli import _studies as studies  # with pydicom's dictionary

    try:
        return studies.uid_of(node, beginning)
    except NotFound:
        return beginning  # what is deleted already can be held too: the node knows it


def run_release(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        released = node.post(f"{_PATH}/{options.hold}/release", {"reason": options.reason})
    if options.json:
        print_json(released)
    else:
        print(f"Hold {released['id']} is released; other holds of the same studies stand.")
    return 0


def run_list(options: argparse.Namespace) -> int:
    params = {"all": str(options.all).lower()} | ({"study": options.study} if options.study else {})
    with node_of(options) as node:
        found = node.json(_PATH, params)["holds"]
    if options.json:
        print_json(found)
    elif not found:
        print("No holds." if options.all else "No holds stand.")
    else:
        columns = ("number>", "placed", "by", "of", "studies>", "state", "why")
        print_table(None, columns, (_row(one) for one in found))
    return 0


def _row(hold: dict[str, Any]) -> tuple[object, ...]:
    released = hold["released"]
    return (
        hold["id"],
        moment(hold["placed_at"]),
        hold["by"],
        f"study {hold['study']}" if "study" in hold else f"patient {shown(hold['patient'])}",
        hold["studies"],
        f"released {released['at'][:10]} by {released['by']}" if released else "stands",
        brief(hold["reason"]),
    )
