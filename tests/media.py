"""Media as pydicom reads them."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.fileset import FileInstance, FileSet


def files_of(dicomdir: Path) -> list[tuple[FileInstance, pydicom.Dataset]]:
    """Return the records of a DICOMDIR's files, found by following its offsets, and what is in the files."""
    files = FileSet(dicomdir)
    found = [(instance, instance.load()) for instance in files]
    files._stage["t"].cleanup()  # which it leaves to its finalizer: a warning
    return [(instance, ds) for instance, ds in found if isinstance(ds, pydicom.Dataset)]
