"""``nearframe retention``: what is due by the rules, and its deletion."""

from __future__ import annotations

import argparse
from typing import Any, Final

from nearframe.cli._client import asks_node, node_of
from nearframe.cli._output import Subparsers, add_parser, print_json, print_table
from nearframe.cli._values import at_least
from nearframe.units import counted

_PATH: Final = "/api/retention"
_COUNTS: Final = (
    ("kept", "kept, since its time is not over"),
    ("due", "due"),
    ("on_hold", "due, and kept by a legal hold"),
    ("just_came", "due, and stored within the last 30 days"),
    ("cannot_judge", "cannot be judged, and kept"),
    ("no_rule", "without a rule for all of it, and kept"),
)
EXIT_LEFT: Final = 1


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "retention",
        what,
        "The rules are [[retention]] tables of the node's settings. A node applies them once a day by itself, as long "
        "as that deletes little; what it deletes can be brought back until it is purged.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    plan = add_parser(commands, "plan", "say what is due, on hold, or cannot be judged; nothing is changed")
    plan.add_argument("--limit", type=at_least(0), default=50, metavar="N", help="list at most this many studies (50)")
    asks_node(plan, run_plan)
    apply = add_parser(commands, "apply", "delete what is due now, however much it is, by rules that delete")
    asks_node(apply, run_apply)


def run_plan(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        plan = node.json(_PATH, {"limit": options.limit})
    if options.json:
        print_json(plan)
        return 0
    _print_counts(plan)
    if plan["listed"]:
        print()
        columns = ("study date", "kept until", "verdict", "action", "rules", "study")
        print_table(None, columns, (_row(one) for one in plan["listed"]))
    return 0


def run_apply(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        applied = node.post(_PATH, {})
    if options.json:
        print_json(applied)
    else:
        _print_counts(applied["plan"])
        print(f"\n{counted(applied['deleted'], 'study')} deleted; nearframe correct undo brings one back.")
        for one in applied["failed"]:
            print(f"{one['study']} stays: {one['why']}")
    return EXIT_LEFT if applied["failed"] else 0


def _print_counts(plan: dict[str, Any]) -> None:
    print(counted(plan["studies"], "study"))
    for name, words in _COUNTS:
        if name in plan["counts"]:
            print(f"{plan['counts'][name]:>9}  {words}")


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    return (
        one["study_date"] or "none",
        one["until"] or one["why"],
        one["verdict"].replace("_", " "),
        one["action"] if one["verdict"] != "cannot_judge" else "",
        ", ".join(one["rules"]),
        one["study"],
    )
