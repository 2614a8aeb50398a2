"""The catalogue under test: every test runs on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nearframe.clock import ManualClock
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue
from tests.postgres import create_schema

_numbers = itertools.count(1)

Where = Path | str


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """Where a new catalogue is to be."""
    if request.param == "sqlite":
        return tmp_path / "home" / "catalogue.sqlite"
    return create_schema(request.getfixturevalue("postgres_server"), f"catalogue{next(_numbers)}")


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """Where a new catalogue on PostgreSQL is to be."""
    return create_schema(postgres_server, f"catalogue{next(_numbers)}")


@pytest.fixture
def open_again(where: Where) -> Iterator[Callable[[], SQLCatalogue]]:
    """Opens the catalogue once more, as another process would."""
    opened: list[SQLCatalogue] = []

    def open_one() -> SQLCatalogue:
        opened.append(open_catalogue(where, ManualClock()))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def catalogue(open_again: Callable[[], SQLCatalogue]) -> SQLCatalogue:
    """An empty catalogue."""
    return open_again()
