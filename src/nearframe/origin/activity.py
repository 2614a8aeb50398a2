"""Whether clients are being answered: the background waits for a quiet moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from nearframe.clock import Clock, SystemClock

#: A client that sends or reads one thing after the other is busy between them too.
QUIET_S = 0.25


class Activity:
    """Counts what is being answered. Long polls belong elsewhere: they never end."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._running = 0
        self._quiet_since_s = float("-inf")

    def is_busy(self) -> bool:
        """Return True while a request is being answered, and until it has been quiet for a while. From any thread."""
        return self._running > 0 or self._clock.monotonic() < self._quiet_since_s + QUIET_S

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While this is held, a client is being answered. On the event loop."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._quiet_since_s = self._clock.monotonic()

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Return `app`, its requests counted."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            with self.answering():
                await app(scope, receive, send)

        return watched
