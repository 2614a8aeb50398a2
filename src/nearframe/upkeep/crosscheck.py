"""Whether the packs hold what the catalogue speaks of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nearframe.ids import Digest
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.packs import PackStore
from nearframe.storage.ports import InstanceRecord

_VERSIONS_AT_ONCE: Final = 1000


@dataclass(slots=True)
class CrossCheck:
    """What was compared so far.

    Attributes
    ----------
    versions
        Stored versions of instances, current or not.
    incomplete
        Those of which something is missing or known to be damaged.
    contents
        How many contents that are.
    """

    versions: int = 0
    incomplete: int = 0
    contents: int = 0


def cross_check(
    catalogue: SQLCatalogue, packs: PackStore, progress: Callable[[CrossCheck], None] = lambda _found: None
) -> CrossCheck:
    """Look up every content of every version; says nothing of what a content's bytes are (`PackStore.scrub`)."""
    found = CrossCheck()
    after = 0
    while page := catalogue.every_version(after, _VERSIONS_AT_ONCE):
        for _, record in page:
            missing = len(packs.missing(record.study, contents_of(record)))
            found.versions += 1
            found.incomplete += missing > 0
            found.contents += missing
        progress(found)
        after = page[-1][0]
    return found


def contents_of(record: InstanceRecord) -> list[Digest]:
    """Return the digests of everything that a version consists of."""
    frames = (enc for enc, _ in record.frames)
    return list(dict.fromkeys((record.hdr, *frames, *(entry.digest for entry in record.bulk))))
