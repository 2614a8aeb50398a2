"""Reading a pack past damage."""

from __future__ import annotations

import random

import pytest

from nearframe.storage.packs.faulty import FaultyDisk, FaultyFiles
from nearframe.storage.packs.record import HEADER_BYTES, MAGIC, RecordHeader, RecordType
from nearframe.storage.packs.scan import read_records

Records = list[tuple[int, RecordHeader]]


def written(files: FaultyFiles, bodies: list[bytes]) -> Records:
    """Write one record for each body, from byte 0 on."""
    file = files.create("pack")
    records: Records = []
    at = 0
    for number, body in enumerate(bodies):
        header = RecordHeader(RecordType.CONTENT, content_id=bytes([number]) * 32, stored_length=len(body))
        file.write_at(at, [header.encode(), body])
        records.append((at, header))
        at += header.length
    return records


def read(files: FaultyFiles, start: int = 0) -> Records:
    file = files.open("pack")
    return list(read_records(file, start, file.size()))


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyDisk().directory("packs")


def test_every_record_is_found(files: FaultyFiles) -> None:
    records = written(files, [b"", b"x" * 1000, b"", b"y"])
    assert read(files) == records
    assert read(files, start=records[2][0]) == records[2:]


def test_damage_costs_only_the_record_it_hit(files: FaultyFiles) -> None:
    records = written(files, [bytes(100)] * 5)
    for offset in (records[1][0] + 30, records[3][0]):
        files.flip_bit("pack", offset)
    assert read(files) == [records[0], records[2], records[4]]


def test_a_false_length_is_not_followed(files: FaultyFiles) -> None:
    records = written(files, [bytes(100)] * 3)
    files.open("pack", writable=True).write_at(records[1][0], [records[1][1]._replace(stored_length=1 << 60).encode()])
    assert read(files) == [records[0], records[2]]


def test_a_record_cut_short_is_not_whole(files: FaultyFiles) -> None:
    records = written(files, [bytes(100)] * 2)
    for missing in (1, 100, 101, 100 + HEADER_BYTES - 1):
        files.open("pack", writable=True).truncate(2 * (HEADER_BYTES + 100) - missing)
        assert read(files) == records[:1]


def test_records_behind_megabytes_of_rubbish_are_found(files: FaultyFiles) -> None:
    # More than one block, with a magic at every kind of place and one across two blocks.
    rubbish = bytearray(random.Random(1).randbytes(2_500_000))
    for at in (0, 1000, (1 << 20) - 2):
        rubbish[at : at + len(MAGIC)] = MAGIC
    header = RecordHeader(RecordType.DROP, carrier=7)
    file = files.create("pack")
    file.write_at(0, [rubbish, header.encode()])
    assert read(files) == [(len(rubbish), header)]
