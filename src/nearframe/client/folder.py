"""What a client keeps: contents by digest, and how its studies stand. Any byte of it may be lost or damaged.

::

    contents/3f/a1…          a content or a header blob; the name is its digest
    studies/<key>/manifest   the state the client knows, as it came
    studies/<key>/parts/…    contents that arrived in part, unproved: "<content>-<form>"
    lock                     held while something is written

A content is written beside its place, proved, and renamed: whoever finds it finds it
whole. Nothing waits for the disk: a file that a power cut left empty or damaged has another
size or digest, counts as lacking, and comes again. Names are digests; no UID becomes a path.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from nearframe.errors import Busy, ConfigurationError, IntegrityError, NearframeError, NotFound
from nearframe.ids import Digest, parse_digest, sha256, sha256_of
from nearframe.units import MIB
from nearframe.wire.manifest import Manifest
from nearframe.wire.manifestjson import decode_manifest, encode_manifest
from nearframe.wire.studycontents import contents_of

_COPY_BYTES: Final = MIB


class Folder:
    """Contents and states of studies below one folder.

    Parameters
    ----------
    path
        Made if it is not there. It holds patients' data: only its owner may read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._contents = path / "contents"
        self._scratch = path / "scratch"
        try:
            for folder in (path, self._contents, self._scratch, path / "studies"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}; name a folder that exists or can be made") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out; raises `Busy` if there is one."""
        with (self.path / "lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Busy("another process writes to this folder; wait for it, or name another folder") from error
            # Nobody else writes: what lies about here was left by one that died.
            for leftover in self._scratch.iterdir():
                leftover.unlink()
            yield

    # -- contents ----------------------------------------------------------------------------

    def holds(self, digest: Digest, length: int | None = None) -> bool:
        """Return whether a content is there, and of this length; a cheap look that proves nothing."""
        try:
            size = self._place(digest).stat().st_size
        except FileNotFoundError:
            return False
        return size > 0 if length is None else size == length

    def read(self, digest: Digest) -> bytes:
        """Return a content.

        Raises
        ------
        NotFound
            If it is not held.
        IntegrityError
            If it is damaged; it is not held any longer then.
        """
        with self._opened(digest) as file:
            data = file.read()
        if sha256(data) != digest:
            self.drop(digest)
            raise IntegrityError("a content in the folder is damaged; sync the study again")
        return data

    def prove(self, digest: Digest) -> None:
        """Read a content from end to end; raises as `read` does."""
        with self._opened(digest) as file:
            found = _digest_of(file)
        if found != digest:
            self.drop(digest)
            raise IntegrityError("a content in the folder is damaged; sync the study again")

    def read_slice(self, digest: Digest, offset: int, length: int) -> Iterator[bytes]:
        """Yield bytes of a content in chunks of bounded size, unproved: see `prove`."""
        with self._opened(digest) as file:
            file.seek(offset)
            while length:
                chunk = file.read(min(length, _COPY_BYTES))
                if not chunk:
                    raise IntegrityError("a content in the folder is shorter than it was; sync the study again")
                length -= len(chunk)
                yield chunk

    def put(self, digest: Digest, data: bytes | bytearray) -> None:
        """Keep a content whose digest was checked."""
        with self.written(self._place(digest)) as file:
            file.write(data)

    def take(self, digest: Digest, part: Path) -> None:
        """Keep a file as a content; its digest was checked."""
        place = self._place(digest)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        part.replace(place)

    def drop(self, digest: Digest) -> None:
        self._place(digest).unlink(missing_ok=True)

    @contextmanager
    def written(self, place: Path) -> Iterator[BinaryIO]:
        """Write a file that appears at its place whole, or not at all."""
        place.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._scratch)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            Path(name).replace(place)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def prune(self) -> int:
        """Remove what no study's state refers to any longer, such as headers from before a correction.

        Reads the states of all studies. Nothing is removed while one of them cannot be read.

        Returns
        -------
        int
            Bytes freed.

        Raises
        ------
        Busy
            If somebody writes to the folder.
        """
        with self.locked():
            try:
                named = set(self._named())
            except NearframeError:
                return 0
            freed = 0
            for path in self._contents.glob("*/*"):
                if path.parent.name + path.name not in named:
                    freed += path.stat().st_size
                    path.unlink()
            return freed

    def _named(self) -> Iterator[str]:
        for path in (self.path / "studies").glob("*/manifest"):
            manifest = decode_manifest(path.read_bytes())
            yield from (entry.hdr.hex() for entry in manifest.entries)
            yield from (content.digest.hex() for content in contents_of(manifest))

    def study(self, tenant: str, study_instance_uid: str) -> StudyFolder:
        """Return the part of the folder that is about a study, whether it is held or not."""
        key = sha256(f"{tenant}\0{study_instance_uid}".encode()).hex()[:32]
        return StudyFolder(self, self.path / "studies" / key, study_instance_uid)

    def _place(self, digest: Digest) -> Path:
        name = digest.hex()
        return self._contents / name[:2] / name[2:]

    @contextmanager
    def _opened(self, digest: Digest) -> Iterator[BinaryIO]:
        try:
            file = self._place(digest).open("rb")
        except FileNotFoundError as error:
            raise NotFound("content in the folder; sync the study") from error
        with file:
            yield file


def _digest_of(file: BinaryIO) -> Digest:
    return sha256_of(iter(lambda: file.read(_COPY_BYTES), b""))


class StudyFolder:
    """How one study stands, and what of it has arrived in part."""

    def __init__(self, folder: Folder, path: Path, study_instance_uid: str) -> None:
        self._folder = folder
        self._path = path
        self._parts = path / "parts"
        self.study_instance_uid = study_instance_uid

    def manifest(self) -> Manifest | None:
        """Return the state that is known, or None if there is none that can be read."""
        try:
            manifest = decode_manifest((self._path / "manifest").read_bytes())
        except (FileNotFoundError, NearframeError):
            return None
        return manifest if manifest.study_instance_uid == self.study_instance_uid else None

    def keep(self, manifest: Manifest) -> None:
        """Remember a state whose root was checked."""
        self._path.mkdir(mode=0o700, exist_ok=True)
        with self._folder.written(self._path / "manifest") as file:
            file.write(encode_manifest(manifest))

    # -- parts -------------------------------------------------------------------------------

    def parts(self) -> Iterator[tuple[Digest, Digest, int]]:
        """Yield content, form and length of each part."""
        if self._parts.is_dir():
            for part in self._parts.iterdir():
                content, _, form = part.name.partition("-")
                yield parse_digest(content), parse_digest(form), part.stat().st_size

    def part_path(self, content: Digest, form: Digest) -> Path:
        """Return where the beginning of a form of a content is, or would be."""
        return self._parts / f"{content.hex()}-{form.hex()}"

    def part_length(self, content: Digest, form: Digest) -> int:
        try:
            return self.part_path(content, form).stat().st_size
        except FileNotFoundError:
            return 0

    def part_digest(self, content: Digest, form: Digest) -> Digest:
        """Return the digest of what has come of a form of a content."""
        with self.part_path(content, form).open("rb") as file:
            return _digest_of(file)

    def append_part(self, content: Digest, form: Digest, offset: int, data: bytes | bytearray) -> None:
        """Add bytes to a part; what lies behind `offset` is cut off."""
        self._parts.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.part_path(content, form).open("ab") as file:
            file.truncate(offset)
            file.write(data)

    def drop_part(self, content: Digest, form: Digest) -> None:
        self.part_path(content, form).unlink(missing_ok=True)

    def drop_parts(self) -> None:
        """Forget all parts: the study is whole."""
        shutil.rmtree(self._parts, ignore_errors=True)
