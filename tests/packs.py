"""What tests of the content store say again and again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nearframe.ids import Digest, sha256
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import ContentKind, ContentStore, StudyRef

#: Small enough that a few contents fill a pack and a content has several chunks.
SMALL = PackSettings(segment_bytes=8192, chunk_bytes=1024, reserve_bytes=0)

Opener = Callable[[], PackStore]


def put(store: ContentStore, study: StudyRef, data: bytes, kind: ContentKind = ContentKind.FRAME) -> Digest:
    """Store a content, durably."""
    digest = sha256(data)
    mark = store.mark()
    store.append(study, kind, digest, len(data), [data])
    store.sync(mark)
    return digest


def lose_index(home: Path) -> None:
    """Remove a closed store's index."""
    for file in (home / "packs" / "index").iterdir():
        file.unlink()
