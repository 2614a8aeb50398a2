"""The catalogue over every real object: versions by number, metadata as given, searches at every level."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from nearframe.context import local_admin
from nearframe.dicom.levels import Level
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.source import FileSource
from nearframe.dicom.split import split
from nearframe.errors import RequestError
from nearframe.ids import Digest
from nearframe.intake.prepare import Arrival, append_contents
from nearframe.query.search import SearchService
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue
from nearframe.storage.ports import ContentKind, ContentStore, NewVersion, Outcome, StudyRef

pytestmark = pytest.mark.data

BATCH = 32
#: SOP Instance UIDs that occur with different contents; of a 23rd, one file is cut short and refused.
SEVERAL = 22


class Nowhere:
    """A content store that keeps nothing: only the catalogue is tested."""

    def append(self, study: StudyRef, kind: ContentKind, digest: Digest, size: int, chunks: Iterable[bytes]) -> bool:
        return True


def objects(folder: Path) -> Iterator[NewVersion]:
    """Yield a version for every object that ingest takes."""
    arrival = Arrival("main", "test", datetime(2026, 11, 22, tzinfo=UTC))
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        try:
            with FileSource(path) as source:
                instance = split(source, Limits())
                yield append_contents(cast(ContentStore, Nowhere()), source, instance, arrival)
        except RequestError:
            continue


@pytest.fixture(scope="module")
def filled(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SQLCatalogue, list[NewVersion]]]:
    """The catalogue with all of them, and what was recorded."""
    catalogue = open_catalogue(tmp_path_factory.mktemp("real") / "catalogue.sqlite")
    stored = list(objects(data_dir))
    for start in range(0, len(stored), BATCH):
        catalogue.record(stored[start : start + BATCH])
    yield catalogue, stored
    catalogue.close()


Filled = tuple[SQLCatalogue, list[NewVersion]]


def test_every_version_is_read_by_its_number(filled: Filled) -> None:
    catalogue, stored = filled
    by_uid: dict[str, dict[Digest, NewVersion]] = defaultdict(dict)
    for new in stored:
        by_uid[new.identity.sop_instance_uid].setdefault(new.file, new)
    assert sum(len(versions) > 1 for versions in by_uid.values()) == SEVERAL
    for uid, versions in by_uid.items():
        records = catalogue.list_versions("main", uid)
        assert {record.file for record in records} == versions.keys()
        for record in records:
            new = versions[record.file]
            assert record == catalogue.find_instance("main", uid, version=record.version)
            assert (record.hdr, record.frames, record.bulk) == (new.hdr, new.frames, new.bulk)
            assert (record.pieces, record.pixel, record.notes) == (new.pieces, new.pixel, new.notes)
            [(identity, text)] = catalogue.metadata(record.study, None, uid, version=record.version)
            assert identity == new.identity
            # A failing test must not print a real patient's metadata.
            is_same = json.loads(text) == new.metadata
            assert is_same


def test_what_differs_in_pixels_is_a_conflict_and_not_current(filled: Filled) -> None:
    catalogue, _ = filled
    conflicts = catalogue.conflicts("main")
    assert conflicts
    for conflict in conflicts:
        uid = conflict.identity.sop_instance_uid
        incoming = catalogue.find_instance("main", uid, version=conflict.version)
        current = catalogue.find_instance("main", uid, version=conflict.current_version)
        assert not incoming.is_current
        assert (incoming.frames.enc, incoming.bulk) != (current.frames.enc, current.bulk)


def test_recording_everything_again_changes_nothing(filled: Filled) -> None:
    catalogue, stored = filled
    before = catalogue.head()
    for start in range(0, len(stored), BATCH):
        recorded = catalogue.record(stored[start : start + BATCH])
        assert {one.outcome for one in recorded} == {Outcome.REPEATED}
    assert catalogue.head() == before


def test_searches_find_what_was_stored(filled: Filled) -> None:
    catalogue, stored = filled
    search, ctx = SearchService(catalogue, max_results=10_000), local_admin()
    uids = {new.identity.sop_instance_uid for new in stored}
    found = {
        level: json.loads(
            search.search(ctx, level, [("includefield", "all")] if level is Level.STUDY else []).render("")
        )
        for level in Level
    }
    assert {row["00080018"]["Value"][0] for row in found[Level.INSTANCE]} == uids
    assert sum(row["00201208"]["Value"][0] for row in found[Level.STUDY]) == len(uids)
    assert sum(row["00201209"]["Value"][0] for row in found[Level.SERIES]) == len(uids)
    assert (catalogue.totals().studies, catalogue.totals().instances) == (len(found[Level.STUDY]), len(uids))
    assert not [row["0020000D"] for row in found[Level.STUDY] if not _finds_itself(search, row)]


def _finds_itself(search: SearchService, row: DICOMJSON) -> bool:
    """Tell whether each identifying value of a study finds it."""
    for tag in ("00100010", "00100020", "00080050", "00080020", "00080061"):
        values = row.get(tag, {}).get("Value") or [None]
        text = values[0].get("Alphabetic") if isinstance(values[0], dict) else values[0]
        # Wildcards and separators of the value itself would ask for something else.
        if text and not set(text) & set("*?\\,="):
            answer = search.search(local_admin(), Level.STUDY, [(tag, text)])
            if row["0020000D"] not in [json.loads(one, strict=False)["0020000D"] for one in answer.rows]:
                return False
    return True
