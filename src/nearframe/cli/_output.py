"""What every command prints with: rich tables for people, JSON for programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias

# Rich is imported where something is printed with it: a node that starts prints one plain line.
if TYPE_CHECKING:
    from rich.console import Console

    Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
else:
    Subparsers = Any

_WIDTH_OF_PIPES = 10_000  # whoever reads a pipe wants whole values
_NEVER_CUT_CHARS = 14  # dates, numbers and modalities mean nothing when they are cut
_GAP_CHARS = 2


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


def print_json(value: object, out: TextIO | None = None) -> None:
    """Print a value as indented JSON, on standard output unless another stream is named."""
    out = out or sys.stdout
    json.dump(value, out, indent=2, ensure_ascii=False)
    print(file=out)


def console() -> Console:
    """Return a console on standard output as it is now (tests and pipes replace it).

    What comes from studies goes in as `rich.text.Text`: square brackets in a plain string are markup.
    """
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_PIPES)


def print_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings; one that ends in ``>`` is aligned right.

    Where a terminal is too narrow, the widest columns are cut, but never the last: it holds what is copied.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Not as the table's own title: that would be folded to the table's width.
    if title:
        console().print(f"[bold cyan]{title}[/]")
    headings = [column.removesuffix(">") for column in columns]
    cells = [[str(cell) for cell in row] for row in rows]
    natural = [max(map(cell_len, column)) for column in zip(headings, *cells, strict=True)]
    widths = _fitted(natural, console().width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, heading, width in zip(columns, headings, widths, strict=True):
        justify: Literal["left", "right"] = "right" if column.endswith(">") else "left"
        table.add_column(heading, justify=justify, no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    # As wide as the table, which would be cut at the terminal's edge otherwise.
    whole = Console(highlight=False, width=sum(widths) + _GAP_CHARS * len(widths))
    with whole.capture() as shown:
        whole.print(table)
    for line in shown.get().splitlines():
        print(line.rstrip())  # whoever copies the last column, or compares two outputs, wants no blanks behind it


def _fitted(widths: Sequence[int], available: int) -> list[int]:
    """Return the widths of columns after the widest but the last gave way, as far as they may."""
    fitted = list(widths)
    excess = sum(fitted) + _GAP_CHARS * (len(fitted) - 1) - available
    for _ in range(excess):
        widest = max(range(len(fitted) - 1), key=fitted.__getitem__, default=None)
        if widest is None or fitted[widest] <= _NEVER_CUT_CHARS:
            break
        fitted[widest] -= 1
    return fitted
