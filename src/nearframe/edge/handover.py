"""What a pull has to know of the outbox: which local versions the upstream has decided on."""

from __future__ import annotations

from typing import Protocol

from nearframe.storage.ports import Settled, StudyRef


class Handover(Protocol):
    """Says what the upstream has recorded of what was taken in here. Sync; callers bring threads."""

    def settled(self, study: StudyRef, upstream: str) -> Settled:
        """Return the versions that an upstream has recorded and that are not handed over yet.

        To be asked before the upstream is asked how the study stands: its answer then counts for these.
        """
        ...

    def handed_over(self, study: StudyRef, settled: Settled) -> None:
        """Say that what is shown here is what the upstream shows, as far as these are concerned."""
        ...

    def doubt(self, upstream: str) -> None:
        """Say that an upstream was restored from a backup: what it had recorded it may have lost."""
        ...


class NothingTakenIn:
    """The `Handover` of a node that takes nothing in."""

    def settled(self, study: StudyRef, upstream: str) -> Settled:
        return {}

    def handed_over(self, study: StudyRef, settled: Settled) -> None:
        pass

    def doubt(self, upstream: str) -> None:
        pass
