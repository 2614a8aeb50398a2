"""Whether the packs hold what the catalogue speaks of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nearframe.ids import Digest
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.ports import ContentKind, ContentStore, InstanceRecord
from nearframe.storage.stores import Store
from nearframe.storage.upkeep import LostContent

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


def cross_check(catalogue: SQLCatalogue, packs: Store) -> CrossCheck:
    """Look up every content of every version; says nothing of what a content's bytes are (`Store.scrub`)."""
    found = CrossCheck()
    for record in _versions(catalogue):
        lost = len(lost_of(record, packs))
        found.versions += 1
        found.incomplete += lost > 0
        found.contents += lost
    return found


def lost_contents(catalogue: SQLCatalogue, packs: Store) -> Iterator[LostContent]:
    """Yield what the catalogue speaks of and the packs cannot give."""
    for record in _versions(catalogue):
        yield from lost_of(record, packs)


def _versions(catalogue: SQLCatalogue) -> Iterator[InstanceRecord]:
    after = 0
    while page := catalogue.every_version(after, _VERSIONS_AT_ONCE):
        yield from (record for _, record in page)
        after = page[-1][0]


def lost_of(record: InstanceRecord, store: ContentStore) -> list[LostContent]:
    """Return what a version refers to and a store cannot give."""
    kinds = dict(contents_of(record))
    return [LostContent(record.study, digest, kinds[digest]) for digest in store.missing(record.study, kinds)]


def contents_of(record: InstanceRecord) -> Iterator[tuple[Digest, ContentKind]]:
    """Yield what a version refers to."""
    yield record.hdr, ContentKind.HEADER
    yield from ((enc, ContentKind.FRAME) for enc, _ in record.frames)
    yield from ((entry.digest, entry.kind) for entry in record.bulk)
