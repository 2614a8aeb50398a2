from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest

from nearframe.clock import ManualClock
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.ids import Digest, Identity, sha256
from nearframe.query.known_renditions import BESIDE_KEPT_S, BLOCK_FRAMES, KEPT_S, KnownRenditions
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, InstanceRecord, Rendition, StudyRef
from nearframe.wire.frametable import FrameTable

FRAMES = 2 * BLOCK_FRAMES + 1


class CountedCatalogue:
    """Has the renditions it is given, and counts how often it is asked."""

    def __init__(self) -> None:
        self.made: dict[Digest, Rendition] = {}
        self.asked: list[int] = []

    def renditions(self, tenant: str, sources: Sequence[Digest], transfer_syntax_uid: str) -> dict[Digest, Rendition]:
        self.asked.append(len(sources))
        return {source: self.made[source] for source in sources if source in self.made}

    def make(self, source: Digest) -> None:
        self.made[source] = Rendition(source, HTJ2KLosslessRPCL, sha256(source), 5)


def record_of(frames: int) -> InstanceRecord:
    rows = [(sha256(bytes([number // 256, number % 256])), None, 10) for number in range(frames)]
    return InstanceRecord(
        study=StudyRef("main", "1.2"),
        identity=Identity("1.1", "1.2.3.4", "1.2.3", "1.2"),
        version=1,
        is_current=True,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        hdr=sha256(b"header"),
        file=sha256(b"file"),
        file_bytes=1,
        frames=FrameTable.of(rows),
        bulk=(),
        pieces=(),
        pixel=None,
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
def catalogue() -> CountedCatalogue:
    return CountedCatalogue()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def known(catalogue: CountedCatalogue, clock: ManualClock) -> KnownRenditions:
    return KnownRenditions(cast(Catalogue, catalogue), Workers("sql", 1), HTJ2KLosslessRPCL, monotonic=clock.monotonic)


async def test_one_question_for_a_block_of_frames(known: KnownRenditions, catalogue: CountedCatalogue) -> None:
    record = record_of(FRAMES)
    for index in range(FRAMES):
        catalogue.make(record.frames.enc_of(index))
    for number in range(1, FRAMES + 1):
        found = await known.of(record, [number])
        assert found[number].source == record.frames.enc_of(number - 1)
    assert catalogue.asked == [BLOCK_FRAMES, BLOCK_FRAMES, 1]


async def test_it_stops_at_the_first_frame_that_has_none(known: KnownRenditions, catalogue: CountedCatalogue) -> None:
    record = record_of(3)
    catalogue.make(record.frames.enc_of(0))
    catalogue.make(record.frames.enc_of(2))
    assert set(await known.of(record, [1, 2, 3])) == {1}


async def test_what_is_made_meanwhile_is_found_a_little_later(
    known: KnownRenditions, catalogue: CountedCatalogue, clock: ManualClock
) -> None:
    record = record_of(1)
    assert await known.of(record, [1]) == {}
    catalogue.make(record.frames.enc_of(0))
    assert await known.of(record, [1]) == {}
    clock.advance(KEPT_S)
    assert set(await known.of(record, [1])) == {1}


async def test_another_header_is_another_question(known: KnownRenditions, catalogue: CountedCatalogue) -> None:
    record = record_of(1)
    await known.of(record, [1])
    await known.of(replace(record, hdr=sha256(b"other")), [1])
    await known.of(replace(record, study=StudyRef("other", "1.2")), [1])
    assert catalogue.asked == [1, 1, 1]


async def test_one_question_ahead_for_many_instances(known: KnownRenditions, catalogue: CountedCatalogue) -> None:
    records = [record_of(FRAMES), replace(record_of(3), hdr=sha256(b"other"))]
    catalogue.make(records[1].frames.enc_of(2))
    await known.look_up(records)
    assert set(await known.of(records[1], [3])) == {3}
    await known.look_up(records)
    assert catalogue.asked == [FRAMES + 3]


async def test_the_instances_beside_one_are_asked_about_with_it(
    catalogue: CountedCatalogue, clock: ManualClock
) -> None:
    series = [
        replace(record, identity=replace(record.identity, sop_instance_uid=f"1.1.{number}"), hdr=sha256(b"%d" % number))
        for number, record in enumerate([record_of(1), record_of(2), record_of(3)])
    ]
    known = KnownRenditions(
        cast(Catalogue, catalogue), Workers("sql", 1), HTJ2KLosslessRPCL, lambda _: series, clock.monotonic
    )
    for enc, _ in [*series[0].frames, *series[1].frames]:
        catalogue.make(enc)
    assert set(await known.of(series[0], [1])) == {1}
    assert set(await known.of(series[1], [1, 2])) == {1, 2}
    assert set(await known.of(series[2], [1, 2, 3])) == {1, 2}, "the first two frames are those of the others"
    assert len(catalogue.asked) == 1

    for enc, _ in series[2].frames:
        catalogue.make(enc)
    clock.advance(BESIDE_KEPT_S)
    assert set(await known.of(series[2], [1, 2, 3])) == {1, 2, 3}, "what nobody had asked for is asked for again soon"


async def test_a_series_of_many_frames_is_not_asked_about_as_a_whole(
    catalogue: CountedCatalogue, clock: ManualClock
) -> None:
    record = record_of(BLOCK_FRAMES)
    others = [replace(record, hdr=sha256(b"%d" % number)) for number in range(20)]
    known = KnownRenditions(
        cast(Catalogue, catalogue), Workers("sql", 1), HTJ2KLosslessRPCL, lambda _: others, clock.monotonic
    )
    await known.of(record, [1])
    assert catalogue.asked == [BLOCK_FRAMES]
