"""Progress bars over bytes or rows, on standard error; none where that is not a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextmanager
def bytes_bar(*, hidden: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show what is being done, and how many bytes of how many: the value is called with the three."""
    with _bar(DownloadColumn(), TransferSpeedColumn(), hidden=hidden) as told:
        yield told


@contextmanager
def rows_bar(*, hidden: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show which table is being looked at, and how many rows of how many: the value is called with the three."""
    with _bar(MofNCompleteColumn(), hidden=hidden) as told:
        yield told


@contextmanager
def _bar(*columns: ProgressColumn, hidden: bool) -> Iterator[Callable[[str, int, int], None]]:
    console = Console(stderr=True, highlight=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=console,
        disable=hidden or not console.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
