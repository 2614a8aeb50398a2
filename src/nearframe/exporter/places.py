"""Where exported files go: a folder, or a zip file that is written as it is read elsewhere.

A file in a folder appears whole or not at all. Names are ours: numbers, never what somebody
else has written.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, Final, NamedTuple, Protocol

from nearframe.errors import BackendFailed, ConfigurationError, NoSpace

_PART: Final = ".part"
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)  # the same export gives the same bytes
_FAST: Final = 1  # native pixels deflate to half at any level, compressed ones at none


class Written(NamedTuple):
    """What a file turned out to be."""

    name: str
    digest: str
    size_bytes: int


class Place(Protocol):
    """Takes files one after the other."""

    def write(self, name: str, chunks: Iterable[bytes]) -> Written:
        """Write a file; slashes in its name separate folders."""
        ...


class FolderPlace:
    """A folder, made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{folder}: no folder to write to ({error.strerror})") from error

    def write(self, name: str, chunks: Iterable[bytes]) -> Written:
        path = self.folder / name
        part = path.with_name(path.name + _PART)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                written = _write(name, file, chunks)
            part.replace(path)
        except OSError as error:
            raise _failed(self.folder, error) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return written


class ZipPlace:
    """A zip file, written front to back."""

    def __init__(self, out: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST)

    def write(self, name: str, chunks: Iterable[bytes]) -> Written:
        info = zipfile.ZipInfo(name, _EARLIEST)
        info.compress_type = zipfile.ZIP_DEFLATED
        with self._zip.open(info, "w", force_zip64=True) as file:
            return _write(name, file, chunks)

    def close(self) -> None:
        """Write the directory, without which there is no zip file."""
        self._zip.close()


@contextmanager
def zip_file(path: Path) -> Iterator[ZipPlace]:
    """Open a zip file that is there only once it is whole.

    Raises
    ------
    ConfigurationError
        If it cannot be made, or is there already.
    """
    if path.exists():
        raise ConfigurationError(f"{path} is there already; name another file, or remove it")
    part = path.with_name(path.name + _PART)
    try:
        out = part.open("wb")
    except OSError as error:
        raise ConfigurationError(f"{path}: no place for a file ({error.strerror})") from error
    try:
        with out, closing(ZipPlace(out)) as place:
            yield place
        part.replace(path)
    except OSError as error:
        raise _failed(path.parent, error) from error
    finally:
        part.unlink(missing_ok=True)


def _write(name: str, file: IO[bytes], chunks: Iterable[bytes]) -> Written:
    state, size = hashlib.sha256(), 0
    for chunk in chunks:
        state.update(chunk)
        size += len(chunk)
        file.write(chunk)
    return Written(name, state.hexdigest(), size)


def _failed(folder: Path, error: OSError) -> Exception:
    if error.errno == errno.ENOSPC:
        return NoSpace(1, shutil.disk_usage(folder).free)
    return BackendFailed(f"{folder} cannot be written ({error.strerror})")
