"""A file read from its header and pieces, as if it had just arrived."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from nearframe.errors import LimitExceeded, MalformedDICOM, MalformedRequest, NotFound
from nearframe.ids import Digest, sha256
from nearframe.intake.heldfile import HeldFile
from nearframe.query.stored_file import piece_digest
from nearframe.storage.ports import ContentKind, StudyRef
from tests.archive import sample
from tests.syncing import Shelves, shelves


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


def stored(held: Shelves, data: bytes) -> tuple[StudyRef, Digest, list[Digest]]:
    """Store a file; return its study and the digests of header and pieces."""
    held.put([data])
    [entry] = held.catalogue.feed(None, 10)
    [record] = held.catalogue.list_instances(StudyRef("main", entry.study_instance_uid))
    return record.study, record.hdr, [piece_digest(record, index) for index in range(len(record.pieces))]


def open_file(held: Shelves, study: StudyRef, hdr: Digest, pieces: list[Digest], **limits: int) -> HeldFile:
    bounds = {"max_header_bytes": 10**6, "max_bytes": 10**7, **limits}
    return HeldFile(held.store, study, hdr, pieces, **bounds)


@pytest.mark.parametrize("name", ["CT_small.dcm", "image_dfl.dcm", "SC_rgb_rle_2frame.dcm", "liver_1frame.dcm"])
def test_reads_as_the_file_does(held: Shelves, name: str) -> None:
    data = sample(name)
    file = open_file(held, *stored(held, data))
    assert file.size == len(data)
    assert file.read(0, file.size) == data
    rng = random.Random(1)
    for _ in range(50):
        start = rng.randrange(len(data))
        length = rng.randrange(len(data) - start + 1)
        assert file.read(start, length) == data[start : start + length]
    with pytest.raises(MalformedDICOM):
        file.read(len(data) - 1, 2)
    file.close()


def test_what_is_not_what_it_says(held: Shelves) -> None:
    study, hdr, pieces = stored(held, sample("CT_small.dcm"))
    with pytest.raises(MalformedDICOM):
        open_file(held, study, hdr, []).read(0, 39000)
    with pytest.raises(NotFound):
        open_file(held, study, hdr, [sha256(b"elsewhere")]).read(0, 39000)
    with pytest.raises(MalformedDICOM):
        short = sha256(b"short")
        held.store.append(study, ContentKind.FRAME, short, 5, [b"short"])
        open_file(held, study, hdr, [short]).read(0, 39000)
    with pytest.raises(LimitExceeded):
        open_file(held, study, hdr, pieces, max_bytes=1000)
    with pytest.raises(LimitExceeded):
        open_file(held, study, hdr, pieces, max_header_bytes=10)
    with pytest.raises(MalformedRequest):
        open_file(held, study, pieces[0], pieces)
