"""What is written of an instance: as it is stored, for a medium, or de-identified."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Final

from nearframe.deidentify import Profile, Pseudonyms, deidentify
from nearframe.dicom import notes
from nearframe.dicom.describe import Description, describe
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import Slice
from nearframe.dicom.part10 import parse
from nearframe.dicom.reencode import meta_of
from nearframe.dicom.source import read_slices
from nearframe.importer.fetched import Fetched

_LIMITS: Final = Limits()
_NO_PART10: Final = frozenset({notes.NO_PREAMBLE, notes.NO_META_HEADER, notes.NO_TRANSFER_SYNTAX})


@dataclass(frozen=True, slots=True)
class Deidentification:
    """How objects are de-identified."""

    profile: Profile
    pseudonyms: Pseudonyms


def deidentified(fetched: Fetched, how: Deidentification) -> tuple[Fetched, bool]:
    """Return a de-identified copy, whole, and whether regions of its pictures were masked.

    Raises
    ------
    Refused, MalformedDICOM, LimitExceeded, MissingIdentifier, NotAcceptable
        As `deidentify`, and while its frames are masked: nothing half is ever written.
    """
    made = deidentify(fetched, how.profile, how.pseudonyms, _LIMITS)
    return _spooled(made.file.chunks()), made.masked


def described(fetched: Fetched) -> Description:
    """Return what a file says of itself; raises as `dicom.part10.parse` and `dicom.describe.describe` do."""
    return describe(parse(fetched, _LIMITS))


def as_part10(fetched: Fetched) -> Fetched:
    """Return a file as it is, or a copy with the file meta information that it lacks and a medium wants (PS3.10)."""
    part10 = parse(fetched, _LIMITS)
    if _NO_PART10.isdisjoint(part10.notes):
        return fetched
    meta = meta_of(part10, describe(part10).identity, part10.transfer_syntax_uid)
    rest = Slice(part10.dataset_offset, fetched.size - part10.dataset_offset)
    return _spooled(chain([meta], read_slices(fetched, (rest,))))


def chunks(fetched: Fetched) -> Iterator[bytes]:
    """Yield the bytes of a file."""
    return read_slices(fetched, (Slice(0, fetched.size),))


def _spooled(parts: Iterable[bytes]) -> Fetched:
    with ExitStack() as cleaning:
        file = cleaning.enter_context(tempfile.TemporaryFile(buffering=0))
        for part in parts:
            file.write(part)
        cleaning.pop_all()
        return Fetched(file)
