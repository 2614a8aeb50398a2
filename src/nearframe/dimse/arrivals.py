"""What has arrived of messages and waits for the task that reads them: in order, and bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final, TypeAlias

from nearframe.dimse.channel import Channel
from nearframe.dimse.messages import Arrived, Data
from nearframe.errors import AssociationLost
from nearframe.units import KIB

#: Waiting: above the first the channel reads no more, below the second it goes on.
_HIGH_BYTES: Final = 256 * KIB
_LOW_BYTES: Final = 128 * KIB
#: What a waiting command counts for: a peer that only asks is held back too.
_COMMAND_BYTES: Final = KIB
#: Parts of a data set wait as one up to this size: those of a byte each would cost a hundred times what they count for.
_SMALL_PART_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Released:
    """The peer asks to release the association."""


Arrival: TypeAlias = Arrived | Data | Released


class Arrivals:
    """A queue with one reader.

    Attributes
    ----------
    failure
        Why nothing more will arrive; None while something may.
    """

    def __init__(self, channel: Channel) -> None:
        self.failure: AssociationLost | None = None
        self._channel = channel
        self._waiting: deque[Arrival] = deque()
        self._waiting_bytes = 0
        self._reader: asyncio.Future[None] | None = None

    def put(self, found: Arrival) -> None:
        """Add what has arrived."""
        last = self._waiting[-1] if self._waiting else None
        if isinstance(found, Data) and isinstance(last, Data) and len(last.data) + len(found.data) <= _SMALL_PART_BYTES:
            self._waiting_bytes -= _size(self._waiting.pop())
            found = Data(last.data + found.data, found.is_last)
        self._waiting.append(found)
        self._waiting_bytes += _size(found)
        if self._waiting_bytes > _HIGH_BYTES:
            self._channel.hold_back()
        self._wake()

    def fail(self, failure: AssociationLost) -> None:
        """Say that nothing more will arrive; who reads is told once it has had the rest."""
        self.failure = self.failure or failure
        self._wake()

    async def next(self) -> Arrival:
        """Return what arrived first of what is left.

        Raises
        ------
        AssociationLost
            If nothing is left and nothing will arrive.
        """
        while not self._waiting:
            if self.failure is not None:
                raise self.failure
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        found = self._waiting.popleft()
        self._waiting_bytes -= _size(found)
        if self._waiting_bytes < _LOW_BYTES:
            self._channel.read_on()
        return found

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def _size(found: Arrival) -> int:
    return len(found.data) if isinstance(found, Data) else _COMMAND_BYTES
