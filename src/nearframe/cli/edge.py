"""``nearframe edge``: run an edge, and look after one that runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from nearframe.cli._client import asks_node, edge_of, node_of
from nearframe.cli._node import add_node_parser
from nearframe.cli._outbox import EXIT_NOTHING_MATCHED, EXIT_REFUSED, add_outbox
from nearframe.cli._output import Subparsers, add_parser, print_json, print_table
from nearframe.config import Settings
from nearframe.context import Urgency
from nearframe.errors import ConfigurationError, Conflict
from nearframe.metrics import Metrics
from nearframe.settingkinds import Address
from nearframe.units import counted, format_duration, format_size

if TYPE_CHECKING:
    from nearframe.cli._asking import Node

_GROUPS = ("node", "network", "dicom", "edge", "storage", "limits", "work", "search", "caches")
_CLASSES = tuple(urgency.name.lower() for urgency in Urgency)

Run: TypeAlias = Callable[[argparse.Namespace], int]


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_node_parser(subparsers, "edge", what, _GROUPS, _open)
    commands = parser.add_subparsers(title="looking after a running edge", metavar="COMMAND")
    _add(commands, "status", "what an edge holds, by class", run_status)
    _add(commands, "list", "the nodes that a client may ask, in the order in which to ask them", run_list)
    route = _add(commands, "route", "the route table, or which rule decides a study's class, and why", run_route)
    route.add_argument("--explain", metavar="STUDY", help="Study Instance UID, or the beginning of one")
    urgency = _add(commands, "urgency", "see how urgent a study is, or give it a class", run_urgency, study=True)
    urgency.add_argument("urgency", nargs="?", metavar="CLASS", choices=(*_CLASSES, "none"), help="|".join(_CLASSES))
    urgency.add_argument("--reason", default="", metavar="TEXT", help="why")
    urgency.add_argument("--until", metavar="TIME", help="for how long (2 h), or until when (2026-11-22T18:00:00Z)")
    _add(commands, "pin", "keep a study whatever room is needed", _pinning("PUT"), study=True)
    _add(commands, "unpin", "let a pinned study loose", _pinning("DELETE"), study=True)
    purge = _add(commands, "purge", "drop frames at this edge; metadata stays, and the archive has them", run_purge)
    purge.add_argument("study", nargs="?", metavar="STUDY", help="Study Instance UID, or the beginning of one")
    purge.add_argument("--series", metavar="UID", help="of this series only")
    purge.add_argument("--patient", action="store_true", help="of every study of the study's patient")
    purge.add_argument("--all", action="store_true", help="of every study")
    purge.add_argument(
        "--force",
        action="store_true",
        help="what is pinned too, and though the upstream is away: none can read it then",
    )
    add_outbox(commands)


def _open(settings: Settings, announce: Callable[[str], None]) -> AbstractAsyncContextManager[tuple[ASGIApp, Metrics]]:
    if settings.forward:
        raise ConfigurationError(
            "[[forward]]: an edge forwards to its upstream alone; the rules belong to the settings of the origin"
        )
    for url in settings.upstream:
        if _is_at(url, settings.http):
            raise ConfigurationError(
                f"upstream {url} is where this edge itself is to listen: name the node that it follows, "
                "or give this one another --http"
            )
    # Who looks after an edge that runs needs neither, and one edge only one of them.
    if settings.is_before_archive:
        from nearframe.pacsapp import open_pacs_edge

        return open_pacs_edge(settings, announce)
    from nearframe.edgeapp import open_edge

    return open_edge(settings, announce)


def _is_at(url: str, address: Address) -> bool:
    """Return True if a URL leads to an address on this machine."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return (_host(parts.hostname or ""), port) == (_host(address.host), address.port)


def _host(name: str) -> str:
    return "127.0.0.1" if name == "localhost" else name


def _add(commands: Subparsers, name: str, what: str, run: Run, *, study: bool = False) -> argparse.ArgumentParser:
    parser = add_parser(commands, name, what)
    if study:
        parser.add_argument("study", metavar="STUDY", help="Study Instance UID, or the beginning of one")
    asks_node(parser, run)
    return parser


# -- status, nodes and routes -------------------------------------------------------------------------


def run_status(options: argparse.Namespace) -> int:
    with edge_of(options, before_any=True) as node:
        status: dict[str, Any] = node.json("/api/status")
    upstream, held = status["upstream"], format_size(status["store"]["stored_bytes"])
    if options.json:
        print_json({name: status[name] for name in ("upstream", "store", "tiers") if name in status})
        return 0
    print(f"upstream     {_upstream_line(upstream)}")
    if upstream["problem"]:
        print(f"             {upstream['problem']}")
    for one in upstream.get("ranked", ()):
        print(f"  {one['rank'] + 1}. {one['url']}: {_stand(one)}")
    if "tiers" in status:
        _print_tiers(status["tiers"], held)
    else:
        print(f"holds        {held}, {counted(status['counts']['studies'], 'study')}")
    return 0


def _upstream_line(upstream: dict[str, Any]) -> str:
    """Say how the upstream stands; of one that is away nobody knows what changed there."""
    if not upstream["reachable"]:
        return "away: what changed there since is not known"
    if "lag" not in upstream:
        return f"an archive by {'DICOMweb' if upstream['kind'] == 'dicomweb' else 'DICOM'}, reachable"
    return f"reachable, {counted(upstream['lag'], 'changed study')} to follow"


def _print_tiers(tiers: dict[str, Any], held: str) -> None:
    print(f"holds        {held} of {format_size(tiers['budget_bytes'])}")
    print(f"pinned       {tiers['pinned']}, {counted(tiers['consults'], 'open consult')}")
    print(f"prefetching  {tiers['prefetching']}")
    print()
    rows = (
        (name, found["studies"], found["held"], format_size(found["held_bytes"]))
        for name, found in tiers["classes"].items()
    )
    print_table(None, ("class", "studies>", "with frames here>", "bytes>"), rows)


def _stand(upstream: dict[str, Any]) -> str:
    """Say how one of several upstreams stands."""
    words = ["answers" if upstream["healthy"] else "away"]
    if upstream["in_use"]:
        words.append(f"in use for {format_duration(round(upstream['in_use_s']))}")
    if upstream["last_error"]:
        words.append(f"last error: {upstream['last_error']}")
    return ", ".join(words)


def run_list(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        found: dict[str, Any] = node.json("/api/edges")
    if options.json:
        print_json(found)
        return 0
    rows = (
        (one["rank"] + 1, one["name"], one["role"], _yes_or_no(one["healthy"]), one["url"]) for one in found["edges"]
    )
    print_table(None, ("rank>", "name", "role", "healthy", "url"), rows)
    return 0


def run_route(options: argparse.Namespace) -> int:
    with edge_of(options) as node:
        if options.explain is None:
            found = node.json("/api/routes")["routes"]
        else:
            found = node.json(f"{_path(node, options.explain)}/urgency", {"explain": "true"})
    if options.json:
        print_json(found)
    elif options.explain is None:
        print_table(
            None,
            ("rule>", "class", "recipes", "index", "when"),
            (
                (one["rule"] or "-", one["class"], _yes_or_no(one["recipes"]), _yes_or_no(one["index"]), one["when"])
                for one in found
            ),
        )
    else:
        _print_explanation(found)
    return 0


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def _print_explanation(found: dict[str, Any]) -> None:
    for trial in found["explanation"]:
        mark = "→" if trial["decides"] else " "
        print(f"{mark} {trial['rule'] or '-':>3}  {trial['class']:8} {trial['when']}")
        for one in trial["conditions"]:
            print(f"         {'holds ' if one['held'] else 'not so'}  {one['condition']} = {one['is']}{_beside(one)}")
    print(f"class  {_class_line(found)}")


def _beside(condition: dict[str, Any]) -> str:
    """Say what the study has, beside a condition on studies."""
    has: str | None = condition["study_has"]
    return "" if has is None else f"   (the study: {has or 'not known'})"


def _class_line(found: dict[str, Any]) -> str:
    match found["why"]:
        case "given":
            return _given_line(found["given"])
        case "consult":
            return f"{found['class']}, by an open consult"
        case _:
            return f"{found['class']}, by the rule: {found['route']['rule']}"


def _given_line(given: dict[str, Any]) -> str:
    reason = f": {given['reason']}" if given["reason"] else ""
    until = f", until {given['until']}" if given["until"] else ""
    return f"{given['class']}, given{reason}{until}"


# -- one study -------------------------------------------------------------------------------------


def run_urgency(options: argparse.Namespace) -> int:
    with node_of(options) as node:
        path = f"{_path(node, options.study)}/urgency"
        if options.urgency is None:
            found = node.json(path)
        else:
            word = None if options.urgency == "none" else options.urgency
            found = node.put(path, {"class": word, "reason": options.reason, "until": options.until})
    _print_study(options, found)
    return 0


def _pinning(method: str) -> Run:
    def run(options: argparse.Namespace) -> int:
        with edge_of(options) as node:
            path = f"{_path(node, options.study)}/pin"
            found = node.put(path) if method == "PUT" else node.delete(path)
        _print_study(options, found)
        return 0

    return run


def _print_study(options: argparse.Namespace, found: dict[str, Any]) -> None:
    if options.json:
        print_json(found)
        return
    if "class" not in found:  # of an archive, which decides nothing by itself
        print(f"class        {_given_line(found['given']) if found['given'] else 'none given: each edge decides'}")
        return
    print(f"class        {_class_line(found)}")
    print(f"pinned       {_yes_or_no(found['pinned'])}, {counted(len(found['consults']), 'open consult')}")
    print(f"last used    {found['used_at']}, fresh until {found['fresh_until']}")
    print(f"holds        {format_size(found['held_bytes'])}; all frames are {format_size(found['frame_bytes'])}")


def run_purge(options: argparse.Namespace) -> int:
    if (
        options.all == (options.study is not None)
        or (options.series and options.patient)
        or (options.all and (options.series or options.patient))
    ):
        raise ConfigurationError("name a STUDY, with --series UID or --patient if you like, or --all")
    with edge_of(options) as node:
        wanted: dict[str, object] = {"all": True}
        if not options.all:
            wanted = {"patient_of" if options.patient else "study": _uid(node, options.study)}
            if options.series:
                wanted["series"] = options.series
        try:
            found = node.post("/api/purge", wanted | {"force": options.force})
        except Conflict as error:
            print(f"Nothing dropped: {error}", file=sys.stderr)
            return EXIT_REFUSED
    nothing_matched = not options.all and not found["studies"]
    if options.json:
        print_json(found)
    elif nothing_matched:
        print("Nothing dropped: there is no such series, or the study is not wholly upstream yet.", file=sys.stderr)
    else:
        print(f"{counted(found['studies'], 'study')}, {format_size(found['bytes'])} dropped.")
    return EXIT_NOTHING_MATCHED if nothing_matched else 0


def _uid(node: Node, beginning: str) -> str:
    from nearframe.cli import _studies as studies  # with pydicom's dictionary, which a running edge does without

    return studies.uid_of(node, beginning)


def _path(node: Node, beginning: str) -> str:
    return f"/api/studies/{_uid(node, beginning)}"
