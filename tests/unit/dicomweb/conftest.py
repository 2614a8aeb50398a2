"""An archive stocked with files of every kind, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.archive import FILES, Stocked, open_archive, sample


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stocked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stocked]:
    async with open_archive(tmp_path_factory.mktemp("archive")) as archive:
        stored = await archive.add(*(sample(name) for name in FILES))
        async with archive.client() as client:
            yield Stocked(archive, client, dict(zip(FILES, stored, strict=True)))
