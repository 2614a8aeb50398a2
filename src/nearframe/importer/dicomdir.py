"""The files a DICOMDIR lists (PS3.3 F.3.2.2), resolved inside its own folder and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pydicom

from nearframe.errors import MalformedDICOM
from nearframe.importer.reading import lenient_reading
from nearframe.units import MIB

MAX_DICOMDIR_BYTES = 256 * MIB  # an image record has about 500 bytes

_FileID: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """What a DICOMDIR lists, in its order.

    Attributes
    ----------
    files
        Those that are there.
    missing
        Names for which there is no file inside the folder.
    """

    files: list[Path]
    missing: list[str]


def read_dicomdir(path: Path) -> Listed:
    """Read a DICOMDIR.

    Raises
    ------
    MalformedDICOM
        If it cannot be read.
    """
    root = path.parent.resolve()
    folders = _Folders()
    listed = Listed([], [])
    for file_id in dict.fromkeys(_file_ids(path)):
        file = _resolve(root, file_id, folders)
        if file is None:
            listed.missing.append(str(path.parent.joinpath(*file_id)))
        else:
            listed.files.append(file)
    return listed


def _file_ids(path: Path) -> list[_FileID]:
    if path.stat().st_size > MAX_DICOMDIR_BYTES:
        raise MalformedDICOM("the DICOMDIR is larger than any medium needs")
    with lenient_reading():
        records = pydicom.dcmread(path, specific_tags=["DirectoryRecordSequence"]).DirectoryRecordSequence
        ids = [record.get("ReferencedFileID") for record in records]
    return [(file_id,) if isinstance(file_id, str) else tuple(map(str, file_id)) for file_id in ids if file_id]


def _resolve(root: Path, file_id: _FileID, folders: _Folders) -> Path | None:
    here = root
    for component in file_id:
        found = folders.entry(here, component)
        if found is None:
            return None
        here = found
    # A link on the medium may lead elsewhere.
    resolved = here.resolve()
    return here if resolved.is_relative_to(root) and resolved.is_file() else None


class _Folders:
    """Looks names up in folder listings: so no ``..`` and no absolute path is ever followed.

    Upper and lower case are alike, since media are mounted either way.
    """

    def __init__(self) -> None:
        self._listings: dict[Path, dict[str, Path]] = {}

    def entry(self, folder: Path, name: str) -> Path | None:
        if folder not in self._listings:
            self._listings[folder] = self._listing(folder)
        return self._listings[folder].get(self._folded(name))

    def _listing(self, folder: Path) -> dict[str, Path]:
        try:
            return {self._folded(entry.name): entry for entry in folder.iterdir()}
        except OSError:
            return {}

    @staticmethod
    def _folded(name: str) -> str:
        # ISO 9660 names a file "IMG1.;1".
        return name.strip().partition(";")[0].removesuffix(".").lower()
