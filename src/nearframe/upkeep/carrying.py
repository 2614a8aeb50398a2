"""The contents of an archive carried into another store: what each stored version refers to, proved on its way.

Versions have growing ids, and one is recorded once its contents are durable: so whoever has carried what
stands before an id goes on behind it. What the target holds already is not carried again, so a run that was
interrupted begins anew and soon is where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from nearframe.errors import BackendFailed, NotFound, Refused
from nearframe.ids import Digest
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.ports import ContentStore, InstanceRecord, StudyRef
from nearframe.storage.stores import Store
from nearframe.storage.upkeep import LostContent
from nearframe.upkeep.crosscheck import contents_of
from nearframe.upkeep.repair import Copies, Copy, is_right

#: Between two syncs of the target: an object store gets their contents in few objects, and is asked once a study.
_VERSIONS_AT_ONCE: Final = 256


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
    not_locked
        Studies on legal hold that the target cannot keep by itself: its bucket has no object lock.
    """

    to: int = 0
    versions: int = 0
    contents: int = 0
    size_bytes: int = 0
    not_locked: int = 0


class Carrier:
    """Carries contents. Sync.

    Parameters
    ----------
    copies
        Where contents are now.
    progress
        Told after each sync of the target: ``"contents"``, the versions that are complete there, and
        about how many there are.
    """

    def __init__(
        self,
        catalogue: SQLCatalogue,
        target: Store,
        copies: Copies,
        progress: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self._catalogue = catalogue
        self._target = target
        self._copies = copies
        self._progress = progress
        self.done = Carried()

    def carry(self) -> None:
        """Carry what the versions refer to that came since the last time.

        Raises
        ------
        BackendFailed
            If the source cannot give a content: it is damaged, or missing.
        """
        while page := self._catalogue.every_version(self.done.to, _VERSIONS_AT_ONCE):
            mark = self._target.mark()
            under_way: set[tuple[str, Digest]] = set()
            for study, records in _by_study(page):
                self._fetch(self._lacking(study, records, under_way))
            self._target.sync(mark)
            self.done.to = page[-1][0]
            self.done.versions += len(page)
            self._progress("contents", self.done.versions, max(self.done.versions, self._catalogue.totals().instances))
        self.done.not_locked = sum(not self._hold(study) for study in Holds(self._catalogue).kept())

    def _hold(self, study: StudyRef) -> bool:
        """Have the target keep what a legal hold keeps; return whether it does."""
        with suppress(NotFound):  # nothing is stored of it
            try:
                self._target.hold(study)
            except Refused:
                return False
        return True

    def _lacking(
        self, study: StudyRef, records: Sequence[InstanceRecord], under_way: set[tuple[str, Digest]]
    ) -> list[LostContent]:
        """Return what the target has to be given of versions of a study; it holds by then what another one brought.

        Parameters
        ----------
        under_way
            Tenants' contents that no index knows yet; what is returned goes in.
        """
        kinds = {digest: kind for record in records for digest, kind in contents_of(record)}
        lacking = self._target.missing(study, kinds)
        if not lacking:
            return []
        absent = {digest for digest in self._target.unheld(study, lacking) if (study.tenant, digest) not in under_way}
        absent.update(self._target.adopt(study, [digest for digest in lacking if digest not in absent]))
        under_way.update((study.tenant, digest) for digest in absent)
        return [LostContent(study, digest, kinds[digest]) for digest in lacking if digest in absent]

    def _fetch(self, wanted: list[LostContent]) -> None:
        missing = dict.fromkeys(wanted)
        for one, copy in self._copies.find(wanted):
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


def _by_study(page: Sequence[tuple[int, InstanceRecord]]) -> Iterator[tuple[StudyRef, list[InstanceRecord]]]:
    found: dict[StudyRef, list[InstanceRecord]] = {}
    for _, record in page:
        found.setdefault(record.study, []).append(record)
    yield from found.items()


class StoreCopies:
    """The contents of a store that this process has opened."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store

    def find(self, wanted: Collection[LostContent]) -> Iterator[tuple[LostContent, Copy]]:
        for one in wanted:
            length = self._store.size_of(one.study, one.digest)
            if length is not None:
                yield one, Copy(length, partial(self._store.stream, one.study, one.digest))
