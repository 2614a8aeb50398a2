"""An instance that was fetched from elsewhere, until it is sent on or written."""

from __future__ import annotations

import os
from io import FileIO
from typing import BinaryIO

from nearframe.errors import MalformedDICOM


class Fetched:
    """The bytes of an instance, in a file without a name. A `dicom.model.Source`, too.

    Parameters
    ----------
    file
        Unbuffered, and theirs from now on.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)

    def open(self) -> BinaryIO:
        """Open them at the start; one reader at a time."""
        self._file.seek(0)
        return os.fdopen(os.dup(self._file.fileno()), "rb")

    def read(self, offset: int, length: int) -> bytes:
        part = os.pread(self._file.fileno(), length, offset)
        if len(part) != length:
            raise MalformedDICOM("the object ends inside a value", offset=offset)
        return part

    def close(self) -> None:
        """Let the bytes go."""
        self._file.close()
