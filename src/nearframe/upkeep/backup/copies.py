"""Contents in a backup, found by digest: for an archive that lost some."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.errors import IntegrityError
from nearframe.storage.packs.files import LocalFiles
from nearframe.storage.packs.keyring import RING_FILE, SlotKeyRing
from nearframe.storage.packs.keys import KeyRing
from nearframe.storage.packs.opening import form_of, read_range
from nearframe.storage.packs.record import FILE_HEADER_BYTES, RecordHeader, RecordType
from nearframe.storage.packs.scan import read_records
from nearframe.storage.upkeep import LostContent
from nearframe.upkeep.backup.point import PackCopy, Part, Point
from nearframe.upkeep.backup.points import Points
from nearframe.upkeep.repair import Copy


class BackupCopies:
    """The contents of a vault's points, the latest first.

    Parameters
    ----------
    root_key
        Of the archive whose backups they are.
    """

    def __init__(self, points: Points, root_key: bytes) -> None:
        self._points = points
        self._root_key = root_key

    def find(self, wanted: Collection[LostContent]) -> Iterator[tuple[LostContent, Copy]]:
        """Yield what there is of `wanted`; a content may come more than once, from one point and an older one."""
        seen: set[PackCopy] = set()
        for name in reversed(self._points.names()):
            point = self._points.load(name)
            packs = [pack for pack in point.packs if pack not in seen]
            seen.update(packs)
            if packs:
                with tempfile.TemporaryDirectory() as folder:
                    yield from self._find_in(packs, self._ring_of(point, Path(folder)), wanted)

    def _ring_of(self, point: Point, folder: Path) -> KeyRing:
        files = LocalFiles(folder)  # sealed, as in the archive
        files.create(RING_FILE).write_at(0, [self._points.blob(part) for part in point.ring])
        return SlotKeyRing(files, self._root_key)

    def _find_in(
        self, packs: list[PackCopy], ring: KeyRing, wanted: Collection[LostContent]
    ) -> Iterator[tuple[LostContent, Copy]]:
        by_id: dict[bytes, LostContent] = {}
        for lost in wanted:
            keys = ring.find(lost.study)
            if keys is not None:
                by_id[keys.content_id(lost.digest)] = lost
        found = _Found()
        for pack in packs:
            file = _PackFile(self._points, pack.parts)
            for offset, header in read_records(file, FILE_HEADER_BYTES, file.size()):
                if header.content_id in by_id:
                    found.add(ring, file, offset, header)
        for content_id, place in found.places():
            yield by_id[content_id], place.copy()


class _PackFile:
    """A pack in the vault, read in place; what is missing of it reads as zeros."""

    def __init__(self, points: Points, parts: tuple[Part, ...]) -> None:
        self._points = points
        self._parts = parts

    def size(self) -> int:
        return sum(part.length for part in self._parts)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        done = at = 0
        for part in self._parts:
            start, stop = max(offset - at, 0), min(offset + len(buffer) - at, part.length)
            if start < stop:
                buffer[done : done + stop - start] = self._points.salvage(part, start, stop)
                done += stop - start
            at += part.length
        return done


class _Place(NamedTuple):
    """Where a content stands, and the key that opens it."""

    file: _PackFile
    offset: int
    header: RecordHeader
    key: AESGCM

    def copy(self) -> Copy:
        form = form_of(self.header)
        return Copy(self.header.plain_length, lambda: read_range(self.key, form, self.file, self.offset))


class _Found:
    """Records of contents that are wanted: places, and keys, which may stand in records of their own."""

    def __init__(self) -> None:
        self._places: dict[tuple[bytes, bytes], tuple[_PackFile, int, RecordHeader]] = {}
        self._keys: dict[tuple[bytes, bytes], AESGCM] = {}

    def add(self, ring: KeyRing, file: _PackFile, offset: int, header: RecordHeader) -> None:
        """Take in a record."""
        name = header.content_id, header.key_tag
        if header.type is RecordType.CONTENT:
            self._places[name] = file, offset, header
        keys = ring.by_id(header.study_key_id) if header.has_wrap else None
        if keys is not None:
            try:
                self._keys[name] = AESGCM(keys.unwrap(header.content_id, header)[0])
            except IntegrityError:
                return  # a damaged wrap; another study may have one too

    def places(self) -> Iterator[tuple[bytes, _Place]]:
        """Yield content ids, each with a place that can be opened."""
        for name, (file, offset, header) in self._places.items():
            if name in self._keys:
                yield name[0], _Place(file, offset, header, self._keys[name])
