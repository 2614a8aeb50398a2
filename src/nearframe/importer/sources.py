"""Finding DICOM in folders, in zip and gzip files and on media, without unpacking anything to disk."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import pydicom

from nearframe.errors import ConfigurationError, MalformedDICOM
from nearframe.importer.archives import UNPACKING_ERRORS, Gzip, Zip, gzip_size, is_bomb
from nearframe.importer.dicomdir import read_dicomdir
from nearframe.importer.fetched import Fetched
from nearframe.importer.reading import lenient_reading
from nearframe.importer.report import Problem
from nearframe.importer.sniff import HEAD_BYTES, Kind, kind_of
from nearframe.units import MIB

#: An archive inside an archive cannot be sought in: it is held in memory, up to this size.
MAX_NESTED_ARCHIVE_BYTES = 256 * MIB
MAX_NESTING = 3

NOT_THERE = "listed in the DICOMDIR, but not there"
_BOMB = "unpacks to far more than any image does: left alone"


@dataclass(frozen=True, slots=True)
class Found:
    """A DICOM file.

    Attributes
    ----------
    name
        For people: the path, with ``!`` before the name inside an archive.
    key
        Tells this very content from others across runs: path, size and time of last change, hashed.
    open
        Opens it for reading from the start; may be called again, from any thread.
    held_by
        The archive in memory that it is read from, if it is in an archive within another.
    fetch
        Brings an instance here that is elsewhere. Until then its size is 0, and nothing opens it.
    identity
        Study and SOP Instance UID, where they are known without reading it.
    """

    name: str
    size: int
    key: str
    open: Callable[[], BinaryIO]
    held_by: object = None
    fetch: Callable[[], Fetched] | None = None
    identity: tuple[str, str] | None = None


def identity_of(found: Found) -> tuple[str, str] | None:
    """Return Study and SOP Instance UID of a file, None if they cannot be read or it has none."""
    if found.identity is not None:
        return found.identity
    wanted = ["StudyInstanceUID", "SOPInstanceUID"]
    try:
        with lenient_reading(), found.open() as stream:
            read = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(wanted))
            study, instance = (str(read.get(keyword, "")) for keyword in wanted)
    except MalformedDICOM:
        return None
    return (study, instance) if instance else None


@dataclass(frozen=True, slots=True)
class Other:
    """A file that is not DICOM."""

    name: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that a DICOMDIR met on the way lists, and that is not there."""

    name: str


Finding: TypeAlias = Found | Other | Missing | Problem


def require_some(paths: Sequence[Path]) -> None:
    """Raise ConfigurationError if none of the paths is there."""
    if paths and not any(path.exists() for path in paths):
        raise ConfigurationError(f"{paths[0]} does not exist; name files, folders or archives that do")


def find(paths: Iterable[Path]) -> Iterator[Finding]:
    """Yield what there is at and below `paths`, in a stable order.

    A DICOMDIR that is named stands for the files it lists; in a folder all files count.
    What cannot be read is a `Problem`, never an exception.
    """
    for path in paths:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            yield _unreadable(path, error)
            continue
        if is_folder:
            yield from _in_folder(path)
        else:
            yield from _in_file(path, named=True)


@dataclass(frozen=True, slots=True)
class _File:
    """A file on disk or in an archive, not looked into yet."""

    name: str
    size: int
    identity: tuple[str, ...]
    open: Callable[[], BinaryIO]
    depth: int = 0
    held_by: object = None

    @property
    def key(self) -> str:
        return hashlib.sha256("\0".join(self.identity).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _in_folder(folder: Path) -> Iterator[Finding]:
    """Walk a folder, files first; linked folders are not followed, so the walk ends."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        yield _unreadable(folder, error)
        return
    for entry in entries:
        if not entry.is_dir():
            yield from _in_file(Path(entry.path), named=False)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _in_folder(Path(entry.path))


def _in_file(path: Path, *, named: bool) -> Iterator[Finding]:
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return
        with path.open("rb") as stream:
            kind = kind_of(stream.read(HEAD_BYTES))
    except OSError as error:
        yield _unreadable(path, error)
        return
    if kind is Kind.DIRECTORY:
        yield from _in_dicomdir(path, named=named)
        return
    identity = (str(path.resolve()), str(state.st_size), str(state.st_mtime_ns))
    yield from _look_into(_File(str(path), state.st_size, identity, lambda: path.open("rb")), kind)


def _in_dicomdir(path: Path, *, named: bool) -> Iterator[Finding]:
    """Yield what a DICOMDIR lists: all of it if it was named, what is missing if a walk met it.

    Whoever names a DICOMDIR wants all of it; a folder may be a part of a medium.
    """
    try:
        listed = read_dicomdir(path)
    except MalformedDICOM as error:
        yield Problem(str(path), f"{error}; its folder was searched instead")
        if named:
            yield from _in_folder(path.parent)
        return
    if named:
        for file in listed.files:
            yield from _in_file(file, named=False)
    for name in listed.missing:
        yield Problem(name, NOT_THERE) if named else Missing(name)


def _look_into(file: _File, kind: Kind) -> Iterator[Finding]:
    if kind is Kind.DICOM:
        yield Found(file.name, file.size, file.key, file.open, file.held_by)
    elif kind is Kind.ZIP and file.depth < MAX_NESTING:
        yield from _in_zip(file)
    elif kind is Kind.GZIP and file.depth < MAX_NESTING:
        yield from _in_gzip(file)
    elif kind is not Kind.DIRECTORY:
        yield Other(file.name)


def _in_zip(file: _File) -> Iterator[Finding]:
    try:
        # Stays open while an entry found in it may still be opened.
        archive = Zip(file.open())
    except UNPACKING_ERRORS as error:
        yield Problem(file.name, f"not a readable zip file: {error}")
        return
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        name = f"{file.name}!{entry.filename}"
        if entry.flag_bits & 0x1:
            yield Problem(name, "encrypted: unpack it first")
        elif is_bomb(entry.compress_size, entry.file_size):
            yield Problem(name, _BOMB)
        else:
            identity = (*file.identity, entry.filename, str(entry.header_offset))
            opener = cast("Callable[[], BinaryIO]", partial(archive.open, entry))
            held_by = archive if file.depth else None
            yield from _in_packed(_File(name, entry.file_size, identity, opener, file.depth + 1, held_by))


def _in_gzip(file: _File) -> Iterator[Finding]:
    def unpacked() -> Gzip:
        return Gzip(file.open())

    try:
        with unpacked() as stream:
            size = gzip_size(stream)
    except UNPACKING_ERRORS as error:
        yield Problem(file.name, f"not a readable gzip file: {error}")
        return
    if size is None:
        yield Problem(file.name, _BOMB)
        return
    opener = cast("Callable[[], BinaryIO]", unpacked)
    yield from _in_packed(_File(file.name, size, (*file.identity, "gzip"), opener, file.depth + 1, file.held_by))


def _in_packed(file: _File) -> Iterator[Finding]:
    try:
        with file.open() as stream:
            kind = kind_of(stream.read(HEAD_BYTES))
        if kind is Kind.ZIP:
            file = _in_memory(file)
    except UNPACKING_ERRORS as error:
        yield Problem(file.name, f"cannot be unpacked: {error}")
        return
    yield from _look_into(file, kind)


def _in_memory(file: _File) -> _File:
    if file.size > MAX_NESTED_ARCHIVE_BYTES:
        raise OSError("too large for an archive inside an archive; unpack the outer one first")
    with file.open() as stream:
        return replace(file, open=partial(io.BytesIO, stream.read()))


def _unreadable(path: Path, error: OSError) -> Problem:
    return Problem(str(path), error.strerror or "cannot be read")
