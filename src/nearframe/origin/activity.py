"""Whether clients are being answered: the background waits for a quiet moment."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class Activity:
    """Counts the requests that an application is answering. Long polls belong elsewhere: they never end."""

    def __init__(self) -> None:
        self._running = 0

    def is_busy(self) -> bool:
        """Return True while a request is being answered. From any thread."""
        return self._running > 0

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Return `app`, its requests counted."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            self._running += 1
            try:
                await app(scope, receive, send)
            finally:
                self._running -= 1

        return watched
