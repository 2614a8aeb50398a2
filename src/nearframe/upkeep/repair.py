"""Mending a store: what it lost is found elsewhere by its digest, proved, and stored again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from nearframe import log
from nearframe.errors import IntegrityError, UpstreamError
from nearframe.ids import Digest, sha256_of
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.stores import Store
from nearframe.storage.upkeep import LostContent
from nearframe.upkeep.crosscheck import lost_contents

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Copy:
    """A content as somebody else has it, not proved; `chunks` may be called again."""

    length: int
    chunks: Callable[[], Iterator[bytes]]


class Copies(Protocol):
    """Where contents may be that were lost: a backup, or another node."""

    def find(self, wanted: Collection[LostContent]) -> Iterator[tuple[LostContent, Copy]]:
        """Yield what there is of `wanted`, in any order, some perhaps more than once.

        A copy is of use until the next one is asked for.
        """
        ...


class Mendable(Protocol):
    """Who has lost contents, and takes them again."""

    def lost(self) -> list[LostContent]:
        """Return what is lost now."""
        ...

    def keep(self, lost: LostContent, copy: Copy) -> None:
        """Store a content again, durably. It is the right one."""
        ...


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of lost contents, each counted once for every study that holds it."""

    lost: int
    mended: int


def repair(mendable: Mendable, copies: Copies) -> Repaired:
    """Store again what was lost and is found. Nothing is taken that is not proved by its digest."""
    before = mendable.lost()
    open_: dict[tuple[str, Digest], list[LostContent]] = {}
    for lost in before:
        open_.setdefault((lost.study.tenant, lost.digest), []).append(lost)
    for found, copy in copies.find(before):
        holders = open_.get((found.study.tenant, found.digest))
        if holders and is_right(found.digest, copy):
            for lost in holders:
                mendable.keep(lost, copy)
            holders.clear()
    return Repaired(len(before), len(before) - len(mendable.lost()))


class OwnStore:
    """A stopped node's store, and its catalogue if it has one here: that knows of contents that the packs forgot."""

    def __init__(self, packs: Store, catalogue: SQLCatalogue | None) -> None:
        self._packs = packs
        self._catalogue = catalogue

    def lost(self) -> list[LostContent]:
        known = dict.fromkeys(self._packs.damaged())
        if self._catalogue is not None:
            known |= dict.fromkeys(lost_contents(self._catalogue, self._packs))
        return list(known)

    def keep(self, lost: LostContent, copy: Copy) -> None:
        mark = self._packs.mark()
        self._packs.append(lost.study, lost.kind, lost.digest, copy.length, copy.chunks())
        self._packs.sync(mark)


def is_right(digest: Digest, copy: Copy) -> bool:
    """Return whether a copy is what its digest says; whatever it is instead is told to the log."""
    try:
        is_right = sha256_of(copy.chunks()) == digest
    except (IntegrityError, UpstreamError) as error:
        _log.warning("copy_unusable", error=error)
        return False
    if not is_right:
        _log.warning("copy_differs")
    return is_right
