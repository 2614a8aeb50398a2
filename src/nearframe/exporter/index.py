"""What an export holds: a line for each file, and the digests as ``sha256sum -c`` reads them.

The index of a folder is also what a continued export goes by: it is appended to after each
file, and what it lists is not fetched again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from nearframe.errors import ConfigurationError

INDEX: Final = "index.jsonl"
DIGESTS: Final = "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an export.

    Attributes
    ----------
    digest
        SHA-256 of the file, in hex.
    """

    file: str
    study: str
    series: str
    instance: str
    size_bytes: int
    digest: str

    def line(self) -> str:
        """Return the entry as a line of the index."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    def sum(self) -> str:
        """Return the entry as a line of the digest list."""
        return f"{self.digest}  {self.file}\n"


class FolderIndex:
    """The index of an export to a folder.

    Parameters
    ----------
    kind
        What tells exports apart that must not share a folder.

    Raises
    ------
    ConfigurationError
        If the folder holds an export of another kind, or something else.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._path = folder / INDEX
        head = json.dumps({"export": kind}) + "\n"
        if not self._path.exists():
            if any(folder.iterdir()):
                raise ConfigurationError(f"{folder} is not empty; name a folder of its own for the export")
            self._path.write_text(head, encoding="utf-8")
        self._file = self._path.open("r+", encoding="utf-8")
        if self._file.readline() != head:
            self._file.close()
            raise ConfigurationError(f"{folder} holds an export of another kind; name another folder")
        self.entries = {entry.instance: entry for entry in self._read()}

    def holds(self, instance: str) -> bool:
        """Return True if a file was written, and is there in its size."""
        entry = self.entries.get(instance)
        return entry is not None and _has_size(self._folder / entry.file, entry.size_bytes)

    def add(self, entry: Entry) -> None:
        """Remember a file that was written."""
        self.entries[entry.instance] = entry
        self._file.write(entry.line())
        self._file.flush()

    def write_digests(self) -> None:
        """Write the digest list."""
        lines = sorted(entry.sum() for entry in self.entries.values())
        (self._folder / DIGESTS).write_text("".join(lines), encoding="utf-8")

    def _read(self) -> Iterator[Entry]:
        # A line that a crash cut short is cut off: what follows it would be no line either.
        end = self._file.tell()
        while line := self._file.readline():
            try:
                yield Entry(**json.loads(line))
            except (ValueError, TypeError):
                break
            end = self._file.tell()
        self._file.seek(end)
        self._file.truncate()

    def __enter__(self) -> FolderIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except (FileNotFoundError, NotADirectoryError):
        return False
