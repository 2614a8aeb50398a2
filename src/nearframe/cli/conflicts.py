"""``nearframe conflicts``: a UID that is held with other pixels, an identifier that was merged away."""

from __future__ import annotations

import argparse
from typing import Any, Final

from nearframe.cli._client import asks_node, node_of
from nearframe.cli._output import Subparsers, add_parser, print_json, print_table
from nearframe.cli._patients import shown
from nearframe.cli._values import at_least, moment
from nearframe.units import counted

EXIT_OPEN: Final = 1


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "conflicts",
        what,
        "A UID stands for one picture. What comes with a UID that is held with other pixels is stored and flagged, "
        "and not shown as current until somebody says which is right. The other one stays readable by its version.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    list_ = add_parser(commands, "list", "list conflicts; the exit code is 1 while one is open")
    list_.add_argument("--all", action="store_true", help="also those that are resolved")
    asks_node(list_, run_list)
    patients = add_parser(
        commands,
        "patients",
        "list studies that name a patient's identifier which was merged away; the exit code is 1 while there is one",
        "They came after the merge, or from elsewhere, and are shown as they came. nearframe correct merge files them "
        "where they belong; nearframe correct apart says that the identifier is somebody else's now.",
    )
    asks_node(patients, run_patients)
    resolve = add_parser(commands, "resolve", "say which version is right")
    resolve.add_argument("conflict", type=at_least(0), metavar="NUMBER", help="as nearframe conflicts list shows it")
    resolve.add_argument("--keep", required=True, choices=("current", "incoming"), help="the version that is right")
    asks_node(resolve, run_resolve)


def run_list(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        found: list[dict[str, Any]] = node.json("/api/conflicts", {"all": str(options.all).lower()})["conflicts"]
    if options.json:
        print_json(found)
    elif not found:
        print("No conflicts." if options.all else "No open conflicts.")
    else:
        columns = (
            "number>",
            "resolution",
            "came",
            "from",
            "patient",
            "study",
            "picture",
            "differs",
            "SOP instance UID",
        )
        print_table(None, columns, (_row(one) for one in found))
    return EXIT_OPEN if any(one["resolution"] is None for one in found) else 0


def run_patients(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        found: list[dict[str, Any]] = node.json("/api/conflicts/patients")["studies"]
    if options.json:
        print_json(found)
    elif not found:
        print("No study names an identifier that was merged away.")
    else:
        columns = ("merged", "names", "belongs to", "instances>", "study instance UID")
        print_table(None, columns, (_stray_row(one) for one in found))
    return EXIT_OPEN if found else 0


def _stray_row(stray: dict[str, Any]) -> tuple[object, ...]:
    names, belongs_to = shown(stray["names"]), shown(stray["belongs_to"])
    return moment(stray["merged_at"]), names, belongs_to, stray["instances"], stray["study"]


def _row(conflict: dict[str, Any]) -> tuple[object, ...]:
    of = conflict["incoming"] or conflict["current"] or {}
    named = f"[{of['patient_id']}]" if of.get("patient_id") else None
    return (
        conflict["id"],
        conflict["resolution"] or "open",
        moment(conflict["received_at"]),
        conflict["source"],
        _words(of.get("patient_name"), named),
        _words(of.get("study_date"), of.get("study_description")),
        _words(of.get("modality"), _numbered("series", of), _numbered("instance", of)),
        _differs(conflict["differs"]),
        conflict["instance"],
    )


def _words(*parts: str | None) -> str:
    return " ".join(part for part in parts if part) or "-"


def _numbered(level: str, of: dict[str, Any]) -> str | None:
    number = of.get(f"{level}_number")
    return f"{level} {number}" if number else None


def _differs(differs: dict[str, Any] | None) -> str:
    if differs is None:
        return "-"  # one of the two is stored no more
    frames = counted(differs["frames"], "frame") if differs["frames"] else ""
    more = differs["attribute_count"] - len(differs["attributes"])
    return ", ".join(filter(None, (frames, *differs["attributes"], f"{more} more" if more else "")))


def run_resolve(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        resolved = node.post(f"/api/conflicts/{options.conflict}", {"keep": options.keep})
    if options.json:
        print_json(resolved)
    else:
        kept = resolved["version"] if options.keep == "incoming" else resolved["current_version"]
        print(f"Version {kept} is current now; the other stays readable by its number.")
    return 0
