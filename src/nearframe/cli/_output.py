"""What every command prints with: rich tables for people, JSON for programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
else:
    Subparsers = Any

_WIDTH_OF_PIPES = 200
_UID_CHARS = 40


def add_parser(subparsers: Subparsers, name: str, what: str, details: str = "") -> argparse.ArgumentParser:
    """Add a subcommand whose one-line help and description say the same.

    Parameters
    ----------
    what
        A phrase without capital and full stop: ``"print the versions"``.
    details
        Further sentences for ``nearframe NAME --help``.
    """
    sentence = f"{what[0].upper()}{what[1:]}."
    return subparsers.add_parser(name, help=what, description=f"{sentence} {details}".strip().replace("%", "%%"))


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def print_json(value: object) -> None:
    """Print a value as indented JSON on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    print()


def console() -> Console:
    """Return a console on standard output as it is now (tests and pipes replace it).

    What comes from studies goes in as `rich.text.Text`: square brackets in a plain string are markup.
    """
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_PIPES)


def print_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings; one that ends in ``>`` is aligned right, and the last is never cut short."""
    # Not as the table's own title: that would be folded to the table's width.
    if title:
        console().print(f"[bold cyan]{title}[/]")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        last = column == columns[-1]
        justify: Literal["left", "right"] = "right" if column.endswith(">") else "left"
        table.add_column(
            column.removesuffix(">"),
            justify=justify,
            no_wrap=True,
            overflow="ignore" if last else "ellipsis",
            min_width=_UID_CHARS if last and column.endswith("UID") else None,
        )
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console().print(table)
