"""The contents of an archive carried into another store: what each stored version refers to, proved on its way.

Versions have growing ids, and one is recorded once its contents are durable: so whoever has carried what
stands before an id goes on behind it. What the target holds already is not carried again, so a run that was
interrupted begins anew and soon is where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final

from nearframe.errors import BackendFailed
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.ports import ContentStore
from nearframe.storage.upkeep import LostContent
from nearframe.upkeep.crosscheck import lost_of
from nearframe.upkeep.repair import Copies, Copy, is_right

#: Between two syncs of the target: an object store gets their contents in few objects.
_VERSIONS_AT_ONCE: Final = 64


@dataclass(slots=True)
class Carried:
    """What was carried so far.

    Attributes
    ----------
    to
        Id of the last version that is complete in the target.
    versions
        That are complete there.
    contents, size_bytes
        That the target did not hold.
    """

    to: int = 0
    versions: int = 0
    contents: int = 0
    size_bytes: int = 0


class Carrier:
    """Carries contents. Sync.

    Parameters
    ----------
    progress
        Told after each sync of the target: ``"contents"``, the versions that are complete there, and
        about how many there are.
    """

    def __init__(
        self,
        catalogue: SQLCatalogue,
        target: ContentStore,
        progress: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self._catalogue = catalogue
        self._target = target
        self._progress = progress
        self.done = Carried()

    def carry(self, copies: Copies) -> None:
        """Carry what the versions refer to that came since the last time.

        Parameters
        ----------
        copies
            Where contents are now.

        Raises
        ------
        BackendFailed
            If the source cannot give a content: it is damaged, or missing.
        """
        while page := self._catalogue.every_version(self.done.to, _VERSIONS_AT_ONCE):
            mark = self._target.mark()
            lacking = [one for _, record in page for one in lost_of(record, self._target)]
            self._fetch(copies, list(self._not_adopted(dict.fromkeys(lacking))))
            self._target.sync(mark)
            self.done.to = page[-1][0]
            self.done.versions += len(page)
            self._progress("contents", self.done.versions, max(self.done.versions, self._catalogue.totals().instances))

    def _not_adopted(self, lacking: Collection[LostContent]) -> Iterator[LostContent]:
        """Have studies hold what another one brought; yield what none did."""
        for study, contents in groupby(lacking, attrgetter("study")):
            by_digest = {one.digest: one for one in contents}
            yield from (by_digest[digest] for digest in self._target.adopt(study, list(by_digest)))

    def _fetch(self, copies: Copies, wanted: list[LostContent]) -> None:
        missing = dict.fromkeys(wanted)
        for one, copy in copies.find(wanted):
            if one in missing and is_right(one.digest, copy):
                del missing[one]
                self._target.append(one.study, one.kind, one.digest, copy.length, copy.chunks())
                self.done.contents += 1
                self.done.size_bytes += copy.length
        if missing:
            raise BackendFailed(
                f"{len(missing)} contents cannot be read where they are now: nearframe scrub says more, and "
                "--repair-from brings them back from a backup; then run this again"
            )


class StoreCopies:
    """The contents of a store that this process has opened."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store

    def find(self, wanted: Collection[LostContent]) -> Iterator[tuple[LostContent, Copy]]:
        for one in wanted:
            length = self._store.size_of(one.study, one.digest)
            if length is not None:
                yield one, Copy(length, partial(self._store.stream, one.study, one.digest))
