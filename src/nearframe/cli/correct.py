"""``nearframe correct``: attributes, merges, moves, deletions, and their undoing."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from nearframe.cli._client import asks_node, node_of
from nearframe.cli._output import Subparsers, add_parser, print_json, print_table
from nearframe.cli._patients import PATIENT, patient_of
from nearframe.cli._values import at_least, brief, moment
from nearframe.errors import ConfigurationError
from nearframe.units import counted

if TYPE_CHECKING:
    from nearframe.cli._asking import Node

_PATH: Final = "/api/corrections"

#: Makes of the options what is asked for; may ask the node which study is meant.
_Asking = Callable[[argparse.Namespace, "Node"], dict[str, Any]]


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "correct",
        what,
        "Each correction is a new version: no pixel moves, the versions before stay readable, "
        "and nearframe correct undo brings them back byte for byte.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    set_ = _add(commands, "set", "correct attributes of a study, or of some of its series or instances", _set)
    _add_selection(set_)
    _add_attributes(set_)
    patient = _add(commands, "patient", "correct attributes in every study of a patient", _patient)
    patient.add_argument("patient", metavar="PATIENT", help=PATIENT)
    _add_attributes(patient)
    merge = _add(commands, "merge", "file every study of a patient under another one", _merge)
    merge.add_argument("source", metavar="FROM", help=PATIENT)
    merge.add_argument("into", metavar="INTO", help="the patient that stays, likewise")
    merge.add_argument(
        "attributes",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="how that one is called, if no study here says so",
    )
    apart = _add(commands, "apart", "say that an identifier which was merged away is in use again", _apart)
    apart.add_argument("patient", metavar="PATIENT", help=PATIENT)
    move = _add(commands, "move", "file a study, or part of it, in another study or under another patient", _move)
    _add_selection(move)
    to = move.add_mutually_exclusive_group(required=True)
    to.add_argument("--to", metavar="STUDY", help="a study that is here, or the UID of a new one")
    to.add_argument("--to-patient", metavar="PATIENT", help=PATIENT)
    to.add_argument("--to-new", action="store_true", help="a new study of the same patient")
    _add_attributes(move)
    _add_selection(_add(commands, "delete", "take a study, or part of it, out of view", _delete))
    revert = _add(commands, "revert", "make an earlier version of an instance current again", _revert)
    revert.add_argument("instance", metavar="UID", help="SOP Instance UID")
    revert.add_argument("version", type=int, metavar="VERSION", help="its number")
    _add_record_commands(commands)


def _add_record_commands(commands: Subparsers) -> None:
    undo = add_parser(commands, "undo", "bring back what was in view before a correction: unmerge, undelete, …")
    undo.add_argument("correction", type=at_least(0), metavar="NUMBER", help="as nearframe correct list shows it")
    undo.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept")
    asks_node(undo, run_undo)
    purge = add_parser(commands, "purge", "have what is deleted of a study go for good now, its bytes too")
    purge.add_argument("study", metavar="UID", help="Study Instance UID, whole")
    purge.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept with who and when")
    asks_node(purge, run_purge)
    list_ = add_parser(commands, "list", "list who corrected what, when and why, the latest first")
    list_.add_argument("--study", metavar="STUDY", help="only what changed something in this study")
    list_.add_argument("--limit", type=at_least(0), default=50, metavar="N", help="at most this many (50)")
    asks_node(list_, run_list)
    show = add_parser(commands, "show", "print one correction, with the versions before and after")
    show.add_argument("correction", type=at_least(0), metavar="NUMBER")
    asks_node(show, run_show)


def _add(commands: Subparsers, name: str, what: str, asking: _Asking) -> argparse.ArgumentParser:
    parser = add_parser(commands, name, what)
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept with who and when")
    parser.add_argument("--dry-run", action="store_true", help="say what it would be about, and change nothing")
    asks_node(parser, lambda options: _run(options, asking))
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="Study Instance UID, or the beginning of one")
    parser.add_argument("--series", action="append", metavar="UID", help="only this series; may be repeated")
    parser.add_argument("--instance", action="append", metavar="UID", help="only this instance; may be repeated")


def _add_attributes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "attributes", nargs="*", default=[], metavar="NAME=VALUE", help="PatientName=Doe^Jane, by keyword or tag"
    )
    parser.add_argument("--remove", action="append", default=[], metavar="NAME", help="an attribute that is to go")


# -- asking ------------------------------------------------------------------------------------


def _set(options: argparse.Namespace, node: Node) -> dict[str, Any]:
    return {"action": "attributes", "select": _selected(options, node), **_edit(options)}


def _patient(options: argparse.Namespace, node: Node) -> dict[str, Any]:
    return {"action": "attributes", "select": {"patient": patient_of(options.patient)}, **_edit(options)}


def _merge(options: argparse.Namespace, node: Node) -> dict[str, Any]:
    called = {"attributes": _pairs(options.attributes)} if options.attributes else {}
    return {"action": "merge", "from": patient_of(options.source), "into": patient_of(options.into) | called}


def _apart(options: argparse.Namespace, node: Node) -> dict[str, Any]:
    return {"action": "apart", "patient": patient_of(options.patient)}


def _move(options: argparse.Namespace, node: Node) -> dict[str, Any]:
    to: dict[str, Any] = {}
    if options.to:
        to = {"study": options.to}
    elif options.to_patient:
        to = {"patient": patient_of(options.to_patient)}
    return {"action": "move", "select": _selected(options, node), "to": to, **_edit(options)}


def _delete(options: argparse.Namespace, node: Node) -> dict[str, Any]:
    return {"action": "delete", "select": _selected(options, node)}


def _revert(options: argparse.Namespace, node: Node) -> dict[str, Any]:
    return {"action": "revert", "instance": options.instance, "version": options.version}


def _selected(options: argparse.Namespace, node: Node) -> dict[str, Any]:
    selected: dict[str, Any] = {"study": _whole(node, options.study)}
    if options.series:
        selected["series"] = options.series
    if options.instance:
        selected["instances"] = options.instance
    return selected


def _whole(node: Node, beginning: str) -> str:
    from nearframe.cli import _studies as studies  # with pydicom's dictionary

    return studies.uid_of(node, beginning)


def _edit(options: argparse.Namespace) -> dict[str, Any]:
    return {"set": _pairs(options.attributes), "remove": options.remove}


def _pairs(attributes: Iterable[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for attribute in attributes:
        name, equals, value = attribute.partition("=")
        if not equals:
            raise ConfigurationError(f"{name}: expected NAME=VALUE; --remove takes an attribute away")
        pairs[name] = value
    return pairs


# -- running -----------------------------------------------------------------------------------


def _run(options: argparse.Namespace, asking: _Asking) -> int:
    with node_of(options) as node:
        document = asking(options, node) | {"reason": options.reason}
        answer = node.post(f"{_PATH}?dry-run=true" if options.dry_run else _PATH, document)
    if options.json:
        print_json(answer)
    elif options.dry_run:
        studies = counted(len(answer["studies"]), "study")
        print(f"{counted(answer['instances'], 'instance')} of {studies} would be looked at; nothing was changed.")
    elif answer["action"] == "apart":
        print(f"Correction {answer['id']}: what names this identifier is where it belongs.")
    else:
        print(f"Correction {answer['id']}: {counted(answer['instances'], 'instance')} changed, no pixel moved.")
        print(f"nearframe correct undo {answer['id']} brings back what was there before.")
    return 0


def run_undo(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        made = node.post(f"{_PATH}/{options.correction}/undo", {"reason": options.reason})
    if options.json:
        print_json(made)
    else:
        print(f"Correction {options.correction} is undone: {counted(made['instances'], 'instance')} as before.")
    return 0


def run_purge(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        done = node.post("/api/purge", {"study": options.study, "reason": options.reason})
    if options.json:
        print_json(done)
    else:
        print(f"{counted(done['instances'], 'instance')} gone for good; the packs are rewritten in the background.")
        print("Backups keep what they hold until the points that were taken before are removed.")
    return 0


def run_list(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        params: dict[str, Any] = {"limit": options.limit}
        if options.study:
            params["study"] = options.study
        found = node.json(_PATH, params)["corrections"]
    if options.json:
        print_json(found)
    elif not found:
        print("No corrections.")
    else:
        columns = ("number>", "made", "action", "instances>", "state", "by", "why")
        print_table(None, columns, (_row(one) for one in found))
    return 0


def _row(made: dict[str, Any]) -> tuple[object, ...]:
    state = f"undone by {made['undone_by']}" if made["undone_by"] else ""
    return (
        made["id"],
        moment(made["made_at"]),
        f"undo of {made['undoes']}" if made["undoes"] else made["action"],
        made["instances"],
        state,
        made["by"],
        brief(made["reason"]),
    )


def _asked(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def run_show(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        made = node.json(f"{_PATH}/{options.correction}")
    if options.json:
        print_json(made)
        return 0
    print_table(None, ("number>", "made", "action", "instances>", "state", "by", "why"), [_row(made)])
    print()
    print_table(None, ("asked for", ""), ((part, _asked(value)) for part, value in made["asked"].items() if value))
    print()
    rows = ((one["before"] or "", one["after"] or "", one["instance"]) for one in made["changed"])
    print_table(None, ("version before>", "after>", "SOP instance UID"), rows)
    return 0
