"""Messages to an archive of several origins: one of them listens, and what they say is done once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from nearframe.settingkinds import Address
from nearframe.storage.catalogue import open_catalogue, schema
from tests.balancer import free_port
from tests.hl7messages import adt, mrg, pid
from tests.integration.hl7.conftest import HERE, connected
from tests.integration.origin.several import Archive
from tests.postgres import create_schema
from tests.syncing import STUDY_UID, ct_series

pytestmark = pytest.mark.postgresql

_PATIENCE_S = 30
MERGE = adt("A40", pid("PID-2", "Roe^Richard"), mrg("PID-1"))


@pytest.fixture
def database(postgres_server: str) -> str:
    return create_schema(postgres_server, "messages")


@pytest.fixture
async def archive(database: str, tmp_path: Path) -> AsyncIterator[Archive]:
    archive = Archive(tmp_path, database)
    yield archive
    archive.close()


async def until_heard(port: int) -> None:
    """Wait until somebody listens."""
    async with asyncio.timeout(_PATIENCE_S):
        while not await is_heard(port):
            await asyncio.sleep(0.02)


async def is_heard(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HERE, port)
    except OSError:
        return False
    writer.close()
    return True


async def test_one_listens_and_the_next_takes_over(archive: Archive, database: str) -> None:
    first, second = free_port(), free_port()
    async with archive.origin("two", hl7=Address(HERE, second)) as two:
        await until_heard(second)
        async with archive.origin("one", hl7=Address(HERE, first)) as one:
            assert (await one.client.get("/api/status")).json()["duties"]["hl7"]["holder"] == "two"
            assert not await is_heard(first)
            await one.store(ct_series(2))
            async with connected(second) as sender:
                done = await sender.send(MERGE)
                assert done["MSA"][1:] == ["AA", "MSG-1", "2 instances filed under the identifier that stays"]
                await take_over(database)
                # It stood still, and does not know yet.
                refused = await sender.send(adt("A08", pid("PID-2", "Old^Name"), control_id="late"))
                assert refused["MSA"][1] in ("AE", "AR")
            assert await one.patient_names(STUDY_UID) == {"Roe^Richard"}
            await until_heard(first if not await is_heard(second) else second)
        await until_heard(second)
        async with connected(second) as sender:
            assert (await sender.send(MERGE))["MSA"] == done["MSA"]
        made = (await two.client.get("/api/corrections")).json()["corrections"]
        assert [one["action"] for one in made] == ["merge"]


async def take_over(database: str) -> None:
    """Have the work go to somebody else, as after a standstill."""
    catalogue = open_catalogue(database)
    with catalogue.database.write() as connection:
        lease = schema.lease.c
        taken = sa.update(schema.lease).where(lease.name == "hl7")
        connection.execute(taken.values(token=lease.token + 1, holder="somebody", expires_at=0))
    catalogue.close()
