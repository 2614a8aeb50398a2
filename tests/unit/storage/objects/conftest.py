"""Origins over one bucket in memory and one index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from nearframe.clock import ManualClock
from nearframe.ids import Digest, sha256
from nearframe.storage.objects import ObjectSettings, ObjectStore, open_index
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.units import MIB
from tests.buckets import MemoryBucket

SETTINGS = ObjectSettings(object_bytes=MIB, chunk_log2=16)


class Origin(Protocol):
    """Opens an origin, by the name of its home."""

    def __call__(self, name: str, *, cache_bytes: int = 0) -> ObjectStore: ...


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket(object_lock=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def origin(tmp_path: Path, bucket: MemoryBucket, clock: ManualClock) -> Iterator[Origin]:
    """Opens origins over one bucket and one index, with one root key."""
    with ExitStack() as stack:

        def open_(name: str, *, cache_bytes: int = 0) -> ObjectStore:
            settings = replace(SETTINGS, cache_bytes=cache_bytes)
            keys = tmp_path / name / "keys"
            keys.mkdir(parents=True, exist_ok=True)
            (keys / "root.key").write_text("11" * 32)
            index = open_index(tmp_path / "index.sqlite")
            return stack.enter_context(closing(ObjectStore(tmp_path / name, bucket, index, settings, clock)))

        yield open_


@pytest.fixture
def store(origin: Origin) -> ObjectStore:
    return origin("one")


def append(store: ObjectStore, study: StudyRef, data: bytes) -> Digest:
    """Append a content; not durable yet."""
    store.append(study, ContentKind.FRAME, sha256(data), len(data), [data])
    return sha256(data)
