"""A catalogue to search in, on every database, filled once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nearframe.query.search import SearchService
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue
from tests.postgres import create_schema
from tests.unit.query.searchable import archive


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def catalogue(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLCatalogue]:
    """The archive of `searchable`."""
    if request.param == "sqlite":
        opened = open_catalogue(tmp_path_factory.mktemp("search") / "catalogue.sqlite")
    else:
        name = "search_" + request.module.__name__.rpartition(".")[2]
        opened = open_catalogue(create_schema(request.getfixturevalue("postgres_server"), name))
    opened.record(archive())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def search(catalogue: SQLCatalogue) -> SearchService:
    return SearchService(catalogue)
