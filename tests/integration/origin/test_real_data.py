"""Real studies through ingest: every byte back, every version readable, pixels stored once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from nearframe.importer.sources import Found, find
from nearframe.storage.ports import Outcome
from tests.integration.origin.conftest import Node

pytestmark = pytest.mark.data

SENDERS = 16

#: UIDs that occur with more than one content. There is one more, of which one file is cut short.
REPEATED_UIDS = 22
#: No SOP Instance UID, a declared length that is not there, or no DICOM behind a preamble.
REFUSED = 10


def objects(folder: Path) -> Iterator[bytes]:
    for found in find([folder]):
        if isinstance(found, Found):
            with found.open() as file:
                yield file.read()


async def test_every_object_comes_back_byte_for_byte(node: Node, data_dir: Path) -> None:
    sent: dict[str, set[bytes]] = defaultdict(set)
    refused = 0
    for batch in batches(objects(data_dir)):
        reports = await asyncio.gather(*map(node.store, batch))
        for data, report in zip(batch, reports, strict=True):
            for stored in report.stored:
                sent[stored.identity.sop_instance_uid].add(data)
            refused += len(report.failed)
    for uid, files in sent.items():
        versions = node.versions(uid)
        assert len(versions) == len(files)
        assert set(versions) == files
    assert sum(len(files) > 1 for files in sent.values()) == REPEATED_UIDS
    assert refused == REFUSED


def batches(files: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(files, SENDERS)):
        yield batch


async def store_folder(node: Node, folder: Path, tenant: str) -> int:
    """Store a folder; return how many instances were created."""
    created = 0
    for data in objects(folder):
        (stored,) = (await node.store(data, tenant=tenant)).stored
        created += stored.outcome is Outcome.CREATED
    return created


@pytest.mark.parametrize(("second_tenant", "reused"), [("clinic", 50), ("hospital", 0)])
async def test_the_second_hospitals_import_brings_no_pixels(
    node: Node, data_dir: Path, second_tenant: str, reused: int
) -> None:
    timeline = data_dir / "patient-timeline"
    assert await store_folder(node, timeline / "1-mr-20180107-original-cd", "clinic") == 50
    before = node.contents.stats()
    assert await store_folder(node, timeline / "2-mr-20180107-imported-by-second-hospital", second_tenant) == 50
    after = node.contents.stats()
    assert after.dedupe_hits - before.dedupe_hits == reused
    # Header blobs are new in either case: every UID changed.
    assert after.contents - before.contents == 50 + (50 - reused)
