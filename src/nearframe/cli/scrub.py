"""``nearframe scrub``: read and prove everything that is stored."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nearframe.cli._client import add_node_options, client_of, node_of
from nearframe.cli._copies import catalogue_in, copies_of
from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json
from nearframe.cli._settings import add_setting, settings_from
from nearframe.clock import SystemClock
from nearframe.errors import ConfigurationError
from nearframe.storage.packs import PackSettings
from nearframe.storage.scratch import ScratchFolder
from nearframe.storage.stores import open_store
from nearframe.units import format_size
from nearframe.upkeep.lastscrub import LastScrub, remember
from nearframe.upkeep.nodes import RunningNode
from nearframe.upkeep.repair import OwnStore, Repaired, repair

EXIT_DAMAGED: Final = 1
_ASK_AGAIN_S: Final = 0.5

_SHOWN: Final = (
    ("contents", "contents proved"),
    ("read_bytes", "bytes read"),
    ("damaged", "found damaged now"),
    ("quarantined", "damaged earlier, kept out of use"),
    ("unreferenced_bytes", "bytes that nothing references"),
    ("unreadable_bytes", "bytes that are no record"),
)


#: Shows the state of a scrub.
Show: TypeAlias = Callable[[dict[str, Any]], None]


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "scrub",
        what,
        "Asks a running node (--url), or opens the store of one that is stopped (--home). What is damaged is kept "
        "out of use until it is stored again; then the exit code is 1.",
    )
    add_node_options(parser)
    add_setting(parser, "home", ("object store",))
    parser.add_argument(
        "--repair-from",
        metavar="PLACE",
        help="mend what is damaged from the URL of another node, or from backups in a folder or at s3://BUCKET/PREFIX",
    )
    parser.add_argument(
        "--root-key", type=Path, metavar="FILE", help="root key that opens the backups (default: the home's)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    console = Console(stderr=True, highlight=False)
    with _bar(console, hidden=options.quiet or options.json) as progress:
        task = progress.add_task("scrubbing", total=None)

        def show(state: dict[str, Any]) -> None:
            progress.update(task, completed=state["segments"], total=state["total_segments"] or None)

        found, repaired = (_offline if options.home else _online)(options, show)
    if options.json:
        print_json(found | ({"lost": repaired.lost, "mended": repaired.mended} if repaired else {}))
    else:
        for name, label in _SHOWN:
            value = found[name]
            print(f"{label:34} {format_size(value) if name.endswith('bytes') else value}")
        if repaired:
            print(f"{'mended':34} {repaired.mended} of {repaired.lost}")
    is_damaged = repaired.mended < repaired.lost if repaired else found["damaged"] or found["quarantined"]
    return EXIT_DAMAGED if is_damaged else 0


def _online(options: argparse.Namespace, show: Show) -> tuple[dict[str, Any], Repaired | None]:
    with (
        copies_of(options, settings_from(options), options.root_key, Path(tempfile.gettempdir())) as copies,
        node_of(options) as node,
        client_of(options) as client,
    ):
        state: dict[str, Any] = node.post("/api/scrub")
        while state["running"]:
            show(state)
            time.sleep(_ASK_AGAIN_S)
            state = node.json("/api/scrub")
        return state, repair(RunningNode(client), copies) if copies else None


def _offline(options: argparse.Namespace, show: Show) -> tuple[dict[str, Any], Repaired | None]:
    settings = settings_from(options)
    if not (settings.home / "packs").is_dir():
        raise ConfigurationError(f"--home {settings.home}: no store is there")
    sizes = PackSettings(settings.segment_bytes, settings.chunk_bytes, settings.kept_free_bytes)
    root_key = options.root_key or settings.home / "keys" / "root.key"
    with (
        closing(open_store(settings, sizes)) as store,
        copies_of(options, settings, root_key, ScratchFolder(settings.home / "scratch").path) as copies,
        catalogue_in(settings) as catalogue,
    ):
        report = store.scrub(lambda report: show(asdict(report)))
        repaired = repair(OwnStore(store, catalogue), copies) if copies else None
        lost = repaired.lost - repaired.mended if repaired else report.damaged + report.quarantined
        remember(settings.home, LastScrub(SystemClock().now(), lost))
        return asdict(report), repaired


def _bar(console: Console, *, hidden: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("packs"),
        TimeRemainingColumn(),
        console=console,
        disable=hidden or not console.is_terminal,
        transient=True,
    )
