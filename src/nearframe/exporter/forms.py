"""The three forms of an export: numbered folders, a zip file, a medium with a DICOMDIR."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from nearframe.errors import ConfigurationError
from nearframe.exporter.content import chunks, described
from nearframe.exporter.dicomdir import Directory, patient_of
from nearframe.exporter.index import DIGESTS, INDEX, Entry, FolderIndex
from nearframe.exporter.names import Numbering, media_name, plain_name
from nearframe.exporter.places import FolderPlace, Place, Written, ZipPlace, zip_file
from nearframe.importer.fetched import Fetched

_DICOMDIR: Final = "DICOMDIR"


class Form(Enum):
    """How an export is written."""

    FOLDERS = "folders"
    ZIP = "zip"
    DICOMDIR = "dicomdir"


class Export(Protocol):
    """Takes instances one after the other."""

    def holds(self, sop_instance_uid: str) -> bool:
        """Return True if it was written by an earlier run."""
        ...

    def add(self, fetched: Fetched) -> Written:
        """Write an instance."""
        ...


@contextmanager
def opened(form: Form, into: Path | BinaryIO, kind: str) -> Iterator[Export]:
    """Open an export of some form; what stands at its end is written when nothing went wrong before.

    Parameters
    ----------
    into
        A folder; for a zip file its path, or where its bytes go.
    kind
        What tells exports apart that must not share a folder.

    Raises
    ------
    ConfigurationError
        If it cannot be written there.
    """
    if form is Form.ZIP:
        with zip_file(into) if isinstance(into, Path) else closing(ZipPlace(into)) as place:
            yield from _zipped(place)
    elif not isinstance(into, Path):
        raise ConfigurationError("only a zip file can be written to standard output")
    elif form is Form.FOLDERS:
        folder = FolderPlace(into)
        with FolderIndex(into, kind) as index:
            yield _Numbered(folder, index.add, index.entries.values(), index.holds)
            index.write_digests()
    else:
        medium = _Medium(FolderPlace(into))
        yield medium
        medium.finish()


def _zipped(place: Place) -> Iterator[Export]:
    entries: list[Entry] = []
    yield _Numbered(place, entries.append, (), lambda _: False)
    place.write(INDEX, (entry.line().encode() for entry in entries))
    place.write(DIGESTS, (entry.sum().encode() for entry in entries))


class _Numbered:
    """Files by number, and an index that says what they are."""

    def __init__(
        self,
        place: Place,
        remember: Callable[[Entry], None],
        known: Iterable[Entry],
        holds: Callable[[str], bool],
    ) -> None:
        self._place = place
        self._remember = remember
        self.holds = holds
        self._numbering = Numbering()
        for entry in known:
            self._numbering.of("", entry.study, entry.series, entry.instance)

    def add(self, fetched: Fetched) -> Written:
        identity = described(fetched).identity
        uids = identity.study_instance_uid, identity.series_instance_uid, identity.sop_instance_uid
        name = plain_name(self._numbering.of("", *uids))
        written = self._place.write(name, chunks(fetched))
        self._remember(Entry(name, *uids, written.size_bytes, written.digest))
        return written


class _Medium:
    """Files with names of a medium, and a DICOMDIR that lists them."""

    def __init__(self, place: FolderPlace) -> None:
        if any(place.folder.iterdir()):
            raise ConfigurationError(f"{place.folder} is not empty; name a folder of its own for the medium")
        self._place = place
        self._numbering = Numbering()
        self._directory = Directory()

    def holds(self, sop_instance_uid: str) -> bool:
        return False

    def add(self, fetched: Fetched) -> Written:
        found = described(fetched)
        identity = found.identity
        numbers = self._numbering.of(
            patient_of(found.metadata),
            identity.study_instance_uid,
            identity.series_instance_uid,
            identity.sop_instance_uid,
        )
        name = media_name(numbers)
        written = self._place.write(name, chunks(fetched))
        self._directory.add(name, found.metadata, found.transfer_syntax_uid)
        return written

    def finish(self) -> None:
        """Write the DICOMDIR."""
        self._place.write(_DICOMDIR, [self._directory.file()])
