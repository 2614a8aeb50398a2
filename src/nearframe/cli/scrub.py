"""``nearframe scrub``: read and prove everything that is stored."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nearframe.cli._client import add_node_options, node_of
from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json
from nearframe.cli._settings import add_setting, settings_from
from nearframe.errors import ConfigurationError
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.units import format_size

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


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "scrub",
        what,
        "Asks a running node (--url), or opens the store of one that is stopped (--home). What is damaged is kept "
        "out of use until it is stored again; then the exit code is 1.",
    )
    add_node_options(parser)
    add_setting(parser, "home")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    console = Console(stderr=True, highlight=False)
    with _bar(console, hidden=options.quiet or options.json) as progress:
        task = progress.add_task("scrubbing", total=None)

        def show(state: dict[str, Any]) -> None:
            progress.update(task, completed=state["segments"], total=state["total_segments"] or None)

        found = _offline(options, show) if options.home else _online(options, show)
    if options.json:
        print_json(found)
    else:
        for name, label in _SHOWN:
            value = found[name]
            print(f"{label:34} {format_size(value) if name.endswith('bytes') else value}")
    return EXIT_DAMAGED if found["damaged"] or found["quarantined"] else 0


def _online(options: argparse.Namespace, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    with node_of(options) as node:
        state: dict[str, Any] = node.post("/api/scrub")
        while state["running"]:
            show(state)
            time.sleep(_ASK_AGAIN_S)
            state = node.json("/api/scrub")
    return state


def _offline(options: argparse.Namespace, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    settings = settings_from(options)
    if not (settings.home / "packs").is_dir():
        raise ConfigurationError(f"--home {settings.home}: no store is there")
    sizes = PackSettings(settings.segment_bytes, settings.chunk_bytes, settings.kept_free_bytes)
    store = PackStore(settings.home, sizes)
    try:
        return asdict(store.scrub(lambda report: show(asdict(report))))
    finally:
        store.close()


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
