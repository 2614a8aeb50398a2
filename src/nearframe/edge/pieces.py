"""One content over the line, piece by piece: the next is asked for before the last is here.

How large a piece is says the line, by the flight's urgency at that moment. When somebody
urgent joins, what was asked for is raised and all the rest is asked for at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from nearframe.cache.flight import Flight
from nearframe.context import Urgency
from nearframe.edge.line import Transfer
from nearframe.edge.strands import Ahead, Chunk, Wanted, chunks_of
from nearframe.edge.upstream import Upstreams
from nearframe.errors import UpstreamError, UpstreamUnavailable

#: Pieces asked for and not here: the line lets through as many of them as it has room for.
_AHEAD: Final = 4
#: A rest that is hardly longer than a piece is asked for with it.
_REST_FACTOR: Final = 1.25


class Pieces:
    """Appends to a flight what it lacks, from where it stands to its end. Used once.

    Parameters
    ----------
    begin
        Called with the length when the first answer tells it.
    """

    def __init__(
        self, upstream: Upstreams, wanted: Wanted, flight: Flight, begin: Callable[[int], Awaitable[None]]
    ) -> None:
        self._upstream = upstream
        self._wanted = wanted
        self._flight = flight
        self._begin = begin
        self._next = flight.written
        self._is_all_asked = False
        self._asked: deque[_Piece] = deque()

    async def bring(self) -> None:
        """Append everything.

        Raises
        ------
        NotFound, UpstreamError
            What came before it was appended.
        """
        self._flight.raised = self._raise
        try:
            self._ask()
            while self._asked:
                await self._take(self._asked[0])
                self._asked.popleft()
                self._ask()
        finally:
            self._flight.raised = None
            for piece in self._asked:
                await piece.close()
        if self._flight.written != self._flight.length:
            raise UpstreamUnavailable("the upstream's answer was cut")

    async def _take(self, piece: _Piece) -> None:
        async with aclosing(piece.chunks()) as chunks:
            async for total, chunk in chunks:
                if self._flight.length is None:
                    self._flight.queued_s += piece.transfer.waited_s
                    await self._begin(total)
                if total != self._flight.length:
                    raise UpstreamError("the upstream says two lengths of one content")
                if self._flight.written + len(chunk) > (piece.stop or total):
                    raise UpstreamError("the upstream sent more than was asked for")
                await self._flight.append(chunk)

    def _ask(self) -> None:
        while not self._is_all_asked and len(self._asked) < _AHEAD:
            self._ask_next()

    def _ask_next(self) -> None:
        start, length = self._next, self._flight.length or self._wanted.length
        size = self._upstream.line.piece_bytes(self._flight.urgency)
        rest = max(0, length - start)
        if size is None or rest <= size * _REST_FACTOR:
            stop, size, self._is_all_asked = None, rest, True
        else:
            stop = self._next = start + size
        transfer = self._upstream.line.transfer(self._wanted.user, self._flight.urgency, size)
        piece = _Piece(self._upstream, self._wanted, transfer, start, stop)
        if self._asked or stop is not None:
            piece.fetch_ahead()
        self._asked.append(piece)

    def _raise(self, urgency: Urgency) -> None:
        for piece in self._asked:
            piece.transfer.raise_to(urgency)
        if not self._is_all_asked:
            self._ask_next()


class _Piece:
    """A range of a content, carried when its turn comes; or fetched ahead of the one before it."""

    def __init__(self, upstream: Upstreams, wanted: Wanted, transfer: Transfer, start: int, stop: int | None) -> None:
        self._upstream = upstream
        self._wanted = wanted
        self._start, self.stop = start, stop
        self.transfer = transfer
        self._ahead: Ahead[Chunk] | None = None

    def fetch_ahead(self) -> None:
        """Begin before it is its turn to be appended."""
        self._ahead = Ahead(self._from_line(), "piece")

    def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield its bytes, each time with the length of the whole content."""
        return self._from_line() if self._ahead is None else self._ahead.items()

    async def close(self) -> None:
        """Let go of what was fetched ahead."""
        if self._ahead is not None:
            await self._ahead.close()

    async def _from_line(self) -> AsyncGenerator[Chunk, None]:
        async with (
            self.transfer.turn(),
            aclosing(chunks_of(self._upstream, self._wanted, self.transfer, self._start, self.stop)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk
