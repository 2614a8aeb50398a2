"""Manifests from the catalogue: the same as was stored, built once, found again by root."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nearframe.errors import NotFound
from nearframe.query.manifests import Manifests, build_manifest
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef
from tests.syncing import STUDY_UID, Shelves, ct_series, rename, shelves

STUDY = StudyRef("main", STUDY_UID)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


@pytest.fixture
def workers() -> Iterator[Workers]:
    pool = Workers("test", 2)
    yield pool
    pool.close()


def manifests(origin: Shelves, workers: Workers) -> Manifests:
    return Manifests(origin.catalogue, workers, 10_000_000)


def test_a_manifest_says_what_the_catalogue_holds(origin: Shelves) -> None:
    origin.put([*ct_series(3), *ct_series(2, series=2, seed=2)])
    manifest = build_manifest(origin.catalogue, STUDY, origin.catalogue.state(STUDY))
    assert [len(table) for table in manifest.series] == [3, 2]
    for entry in manifest.entries:
        record = origin.catalogue.find_instance("main", entry.identity.sop_instance_uid)
        assert (entry.identity, entry.hdr, entry.frames) == (record.identity, record.hdr, record.frames)
        assert (entry.pieces, entry.version) == (record.pieces, record.version)
        assert entry.pixel is not None
        assert entry.pixel["rows"] == 16
        assert entry.metadata["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]


async def test_a_manifest_is_built_once_and_its_root_remembered(origin: Shelves, workers: Workers) -> None:
    origin.put(ct_series(2))
    service = manifests(origin, workers)
    first = await service.current(STUDY)
    assert await service.current(STUDY) is first
    assert origin.catalogue.root_at(STUDY, first.seq) == first.manifest.root
    assert await service.encoded(STUDY, first) is await service.encoded(STUDY, first)


async def test_storing_builds_nothing(origin: Shelves) -> None:
    origin.put(ct_series(2))
    assert origin.catalogue.root_at(STUDY, origin.catalogue.state(STUDY)) is None


async def test_an_earlier_state_is_found_by_its_root(origin: Shelves, workers: Workers) -> None:
    service = manifests(origin, workers)
    origin.put(ct_series(2))
    before = await service.current(STUDY)
    origin.put(ct_series(2, change=rename("Doe^Janet")))
    after = await service.current(STUDY)
    assert after.manifest.root != before.manifest.root
    again = await manifests(origin, workers).with_root(STUDY, before.manifest.root)
    assert again == before


async def test_what_is_not_known(origin: Shelves, workers: Workers) -> None:
    service = manifests(origin, workers)
    with pytest.raises(NotFound, match="study"):
        await service.current(STUDY)
    origin.put(ct_series(1))
    with pytest.raises(NotFound, match="root"):
        await service.with_root(STUDY, bytes(32))
    state = await service.current(STUDY)
    with pytest.raises(NotFound, match="root"):
        await service.with_root(StudyRef("other", STUDY_UID), state.manifest.root)
