"""Where a content belongs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nearframe.edge.studyindex import Content, StudyIndex, StudyIndexes, lacking
from nearframe.ids import sha256
from nearframe.query.freshness import Freshness
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind, Rendition, StudyRef
from tests.syncing import STUDY_UID, Shelves, ct_series, rename, shelves

STUDY = StudyRef("main", STUDY_UID)
HTJ2K = "1.2.840.10008.1.2.4.202"


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


def index_of(edge: Shelves) -> StudyIndex:
    return StudyIndex(edge.catalogue.list_instances(STUDY), edge.catalogue)


def frames_of(edge: Shelves) -> list[bytes]:
    return [record.frames.enc for record in edge.catalogue.list_instances(STUDY)]


def test_frames_with_their_neighbours(edge: Shelves) -> None:
    edge.put([*ct_series(4), *ct_series(2, series=2, seed=2)])
    index, frames = index_of(edge), frames_of(edge)
    assert index.find(frames[0]) == Content(frames[0], ContentKind.FRAME, 512)
    assert [content.digest for content in index.neighbours(frames[1])] == [frames[2], frames[0], frames[3]]
    assert [content.digest for content in index.neighbours(frames[4])] == [frames[5]]
    assert index.series_of(frames[0]) == index.series_of(frames[3]) != index.series_of(frames[4])
    assert index.find(b"u" * 32) is None
    assert list(index.neighbours(b"u" * 32)) == []


def test_renditions_are_neighbours_of_renditions(edge: Shelves) -> None:
    edge.put(ct_series(3))
    frames = frames_of(edge)
    made = [Rendition(enc, HTJ2K, sha256(b"rendition" + enc), 99) for enc in frames[:2]]
    edge.catalogue.add_renditions("main", made)
    index = index_of(edge)
    assert index.find(made[0].digest) == Content(made[0].digest, ContentKind.DERIVED, 99)
    assert [content.digest for content in index.neighbours(made[0].digest)] == [made[1].digest]


def test_a_native_frame_and_a_shorter_rendition_are_twins(edge: Shelves) -> None:
    edge.put(ct_series(4))
    frames = frames_of(edge)
    lengths = zip(frames, (99, 512, 99), strict=False)
    made = [Rendition(enc, HTJ2K, sha256(b"rendition" + enc), length) for enc, length in lengths]
    edge.catalogue.add_renditions("main", made)
    index = index_of(edge)
    twins = index.twins(frames[0])
    assert twins is not None and twins is index.twins(made[0].digest)
    assert (twins.stored.digest, twins.stored.twin) == (frames[0], made[0].digest)
    assert (twins.rendition.digest, twins.rendition.twin) == (made[0].digest, frames[0])
    assert index.twins(frames[1]) is None, "the rendition is no shorter"
    crossing = [made[0].digest, frames[1], made[2].digest, frames[3]]
    assert [[content.digest for content in series] for series in index.carried()] == [crossing]
    assert [content.digest for content in index.neighbours(frames[1])] == [crossing[2], crossing[0], crossing[3]]


def test_frames_whose_rendition_is_still_to_be_made(edge: Shelves) -> None:
    edge.put([*ct_series(2, rows=64), *ct_series(1, series=2, seed=2)])
    frames = frames_of(edge)
    assert index_of(edge).unmade == set(frames[:2]), "a picture of 16 x 16 is not worth one"
    edge.catalogue.add_renditions("main", [Rendition(frames[0], HTJ2K, sha256(b"made"), 99)])
    assert index_of(edge).unmade == {frames[1]}


def test_what_is_held_in_either_form_or_by_the_tenant_need_not_cross_the_line(edge: Shelves) -> None:
    store, other = edge.store, StudyRef("main", "1.9")
    for study, data in ((STUDY, b"one"), (other, b"two"), (STUDY, b"twin of three"), (StudyRef("else", "1"), b"five")):
        store.append(study, ContentKind.FRAME, sha256(data), len(data), [data])
    twin = {b"three": sha256(b"twin of three"), b"four": sha256(b"twin of four")}
    names = (b"one", b"two", b"three", b"four", b"five")
    contents = [Content(sha256(name), ContentKind.FRAME, len(name), twin.get(name)) for name in names]
    assert lacking(store, STUDY, contents) == {sha256(b"four"), sha256(b"five")}
    assert not store.missing(STUDY, [sha256(b"two")]), "it is this study's from now on"


async def test_an_index_is_kept_while_the_study_stays_as_it_is(edge: Shelves) -> None:
    edge.put(ct_series(2))
    freshness, workers = Freshness(), Workers("test", 1)
    indexes = StudyIndexes(edge.catalogue, freshness, workers)
    first = await indexes.of(STUDY)
    assert await indexes.of(STUDY) is first
    edge.put(ct_series(2, change=rename("Doe^Janet")))
    freshness.changed(STUDY)
    assert await indexes.of(STUDY) is not first
    assert len(await indexes.of(StudyRef("main", "1.9"))) == 0
    workers.close()
