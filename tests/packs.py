"""What tests of the content store say again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import sqlalchemy as sa

from nearframe.ids import Digest, sha256
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.packs.files import LocalFiles, ReadableFile
from nearframe.storage.packs.record import FILE_HEADER_BYTES, HEADER_BYTES, RecordType
from nearframe.storage.packs.scan import read_records
from nearframe.storage.ports import ContentKind, ContentStore, StudyRef

#: Small enough that a few contents fill a pack and a content has several chunks.
SMALL = PackSettings(segment_bytes=8192, chunk_bytes=1024, reserve_bytes=0)

Opener = Callable[[], PackStore]

#: For `let_go` of a store whose index stands by itself: it asks nothing of the catalogue.
NO_CATALOGUE = cast(sa.Connection, None)


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


def bodies_in(file: ReadableFile) -> Iterator[bytes]:
    """Yield the sealed body of every record that has one."""
    for offset, header in read_records(file, FILE_HEADER_BYTES, file.size()):
        body = bytearray(header.stored_length)
        file.read_into(offset + HEADER_BYTES, memoryview(body))
        if body and header.type is not RecordType.REPLACES:
            yield bytes(body)


def bodies_below(home: Path) -> set[bytes]:
    """Return the sealed body of every record in any file of a home's packs."""
    files = LocalFiles(home / "packs")
    return {body for path in (home / "packs").glob("*.seg") for body in bodies_in(files.open(path.name))}


def everything_below(folder: Path) -> bytes:
    """Return the bytes of every file, whatever it is."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
