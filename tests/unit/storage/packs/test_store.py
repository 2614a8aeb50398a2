"""The content store, on a real directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nearframe.errors import ConfigurationError
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import StudyRef
from nearframe.units import MIB
from tests.packs import lose_index, put

SETTINGS = PackSettings(segment_bytes=MIB, chunk_bytes=4096, reserve_bytes=0)
A = StudyRef("main", "1.2.3")
B = StudyRef("main", "1.2.4")
ELSEWHERE = StudyRef("other", "1.2.3")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PackStore]:
    with PackStore(tmp_path, SETTINGS) as opened:
        yield opened


def test_an_index_that_is_gone_is_rebuilt(tmp_path: Path) -> None:
    contents = [os.urandom(n * 1000) for n in range(50)]
    with PackStore(tmp_path, SETTINGS) as store:
        digests = [put(store, A, data) for data in contents]
        store.adopt(B, digests[:10])
        store.release(A, digests[:5])
        store.release(B, digests[:3])
        before = store.stats()
    lose_index(tmp_path)
    with PackStore(tmp_path, SETTINGS) as store:
        assert store.missing(A, digests) == digests[:5]
        assert store.missing(B, digests[:10]) == digests[:3]
        assert [store.read(B, digest) for digest in digests[3:10]] == contents[3:10]
        after = store.stats()
        assert (after.live_bytes, after.contents, after.plain_bytes) == (
            before.live_bytes,
            before.contents,
            before.plain_bytes,
        )


def test_a_second_owner_is_refused(tmp_path: Path, store: PackStore) -> None:
    with pytest.raises(ConfigurationError, match="another process works in"):
        PackStore(tmp_path, SETTINGS)


def test_a_wrong_root_key_is_refused(tmp_path: Path) -> None:
    with PackStore(tmp_path, SETTINGS) as store:
        put(store, A, b"x")
    (tmp_path / "keys" / "root.key").write_text("00" * 32)
    with pytest.raises(ConfigurationError, match="another root key"):
        PackStore(tmp_path, SETTINGS)
