"""What an edge needs of the archive behind it, whatever that speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from nearframe.edge.breaker import Breaker
from nearframe.edge.pacs.haste import Haste
from nearframe.edge.pacs.shown import Shown
from nearframe.storage.ports import Buffer, StudyRef


class Archive(Protocol):
    """An archive that is none of ours. For one event loop."""

    @property
    def kind(self) -> str:
        """What it speaks, as status says it: ``dicomweb`` or ``dicom``."""
        ...

    @property
    def at_once(self) -> int:
        """Instances of one study to ask it for at a time."""
        ...

    @property
    def shows_contents(self) -> bool:
        """Whether an instance that changed can always be told by what it shows."""
        ...

    @property
    def breaker(self) -> Breaker: ...
    @property
    def is_reachable(self) -> bool: ...
    @property
    def last_contact_s(self) -> float | None:
        """Seconds since it last answered, or None before it ever did."""
        ...

    async def probe(self) -> None:
        """Find out whether it answers, and as an archive does.

        Raises
        ------
        UpstreamError
            If not; the message says what to do.
        """
        ...

    async def shown(
        self, study: StudyRef, haste: Haste, series: str | None = None, instance: str | None = None
    ) -> Sequence[Shown]:
        """Return the instances that it shows of a study, or of what is named of it.

        Raises
        ------
        NotFound
            If it has none.
        UpstreamError
        """
        ...

    def instance(
        self, study: StudyRef, series: str, instance: str, haste: Haste, sop_class: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[Buffer]]:
        """Open the file of an instance; who leaves the block without an error has it durably.

        Parameters
        ----------
        sop_class
            Its SOP Class UID, if that is known.

        Raises
        ------
        NotFound
            If the archive has none.
        UpstreamError
        """
        ...

    async def close(self) -> None:
        """Close every connection to it."""
        ...
