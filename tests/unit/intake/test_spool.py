"""The spool: bounded, encrypted on disk, and it gives back all it took."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nearframe.errors import BackendFailed, Busy, LimitExceeded, MalformedDICOM, NoSpace
from nearframe.intake.spool import Spool, SpoolLimits
from nearframe.storage.scratch import EncryptedFile
from nearframe.units import KIB, MIB

SMALL = SpoolLimits(
    threshold_bytes=64 * KIB,
    memory_bytes=128 * KIB,
    disk_bytes=64 * MIB,
    reserve_bytes=0,
    max_instance_bytes=16 * MIB,
    patience_s=0.01,
)


async def body(size: int, chunk: int = 10_000) -> AsyncIterator[bytes]:
    for at in range(0, size, chunk):
        yield bytes((at // chunk) % 251 for _ in range(min(chunk, size - at)))


async def joined(size: int) -> bytes:
    return b"".join([chunk async for chunk in body(size)])


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", SMALL)


@pytest.mark.parametrize("size", [0, 1, 64 * KIB, 64 * KIB + 1, 3 * MIB])
@pytest.mark.parametrize("declared", [False, True])
async def test_what_arrives_is_what_is_read(spool: Spool, size: int, declared: bool) -> None:
    part = await spool.receive(body(size), size if declared else 0)
    assert part.size == size
    assert b"".join(part.chunks()) == await joined(size)
    on_disk = size > SMALL.threshold_bytes
    assert (spool.disk_used_bytes > 0) == on_disk
    assert (spool.memory_used_bytes > 0) == (not on_disk and size > 0)
    part.close()
    assert spool.memory_used_bytes == spool.disk_used_bytes == 0


async def test_reading_past_the_end_is_malformed(spool: Spool) -> None:
    part = await spool.receive(body(100))
    assert part.read(90, 10)
    for offset, length in ((90, 11), (-1, 2), (101, 0)):
        with pytest.raises(MalformedDICOM):
            part.read(offset, length)


async def test_small_parts_go_to_disk_when_memory_is_taken(spool: Spool) -> None:
    parts = [await spool.receive(body(60 * KIB)) for _ in range(4)]
    assert spool.memory_used_bytes <= SMALL.memory_bytes
    assert spool.disk_used_bytes > 0
    for part in parts:
        assert b"".join(part.chunks()) == await joined(60 * KIB)
        part.close()
    assert spool.memory_used_bytes == spool.disk_used_bytes == 0


async def test_busy_when_memory_and_disk_are_taken(spool: Spool) -> None:
    parts = [await spool.receive(body(1 * MIB), 16 * MIB) for _ in range(4)]
    with pytest.raises(Busy):
        await spool.receive(body(1 * MIB))
    for part in parts:
        part.close()
    (await spool.receive(body(1 * MIB))).close()
    assert spool.disk_used_bytes == 0


async def test_a_part_too_long_is_stopped_at_the_limit(spool: Spool) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += MIB
            yield bytes(MIB)

    with pytest.raises(LimitExceeded):
        await spool.receive(endless())
    assert taken == SMALL.max_instance_bytes + MIB
    assert spool.disk_used_bytes == 0


async def test_a_declared_length_beyond_the_limit_reads_nothing(spool: Spool) -> None:
    whole = body(10)
    with pytest.raises(LimitExceeded):
        await spool.receive(whole, SMALL.max_instance_bytes + 1)
    assert [chunk async for chunk in whole] == [bytes(10)]


async def test_a_broken_body_gives_everything_back(spool: Spool) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await spool.receive(broken())
    assert spool.memory_used_bytes == spool.disk_used_bytes == 0


async def test_a_cancelled_receive_gives_everything_back(spool: Spool) -> None:
    started = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        started.set()
        await asyncio.Event().wait()

    receiving = asyncio.create_task(spool.receive(stalled()))
    await started.wait()
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert spool.memory_used_bytes == spool.disk_used_bytes == 0


@pytest.mark.parametrize(
    ("number", "raised"), [(errno.ENOSPC, NoSpace), (errno.EDQUOT, NoSpace), (errno.EIO, BackendFailed)]
)
async def test_a_write_that_fails_says_why(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, number: int, raised: type[Exception]
) -> None:
    def fail(self: EncryptedFile, data: bytes) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(EncryptedFile, "write", fail)
    with pytest.raises(raised):
        await spool.receive(body(2 * MIB))
    assert spool.disk_used_bytes == 0


async def test_the_reserve_of_the_file_system_is_not_touched(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SpoolLimits(threshold_bytes=10, reserve_bytes=2**60))
    with pytest.raises(NoSpace):
        await spool.receive(body(100))
    (await spool.receive(body(10))).close()
