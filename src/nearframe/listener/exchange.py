"""One request and its answer, between the server and the application.

The server leaves some things to us: over HTTP/2 it sends the body of an answer to HEAD and
takes a cancelled upload for a finished one, and what is sent to a client that has gone it
takes without a word. Here those become what `nearframe.listener` promises; requests are
counted; and requests that a web page has smuggled to this machine under another host name
are refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nearframe import log, tasks
from nearframe.listener.tally import Tally
from nearframe.metrics import Metrics

_log = log.logger(__name__)

_PROBLEM = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")]
_DISCONNECT: Message = {"type": "http.disconnect"}
_FAILED = b'{"title":"Internal Server Error","status":500}'
_MISDIRECTED = (
    b'{"title":"Misdirected Request","status":421,"detail":"this node is not called that; see public_base_url"}'
)


_KNOWN_HOSTS = 64  # ways to write our few names and the port
#: How long after the end of an HTTP/2 upload its cancellation would show (measured: at once).
_CANCELLATION_SHOWS_S = 0.005


#: Where a request's scope holds the event that its listener stops, and that it is about to.
STOPPING = "nearframe.stopping"
LEAVING = "nearframe.leaving"
_CLOSE = (b"connection", b"close")


class ClientGone(ConnectionError):
    """The client went away before the answer was complete."""


class Exchange:
    """The outermost ASGI application.

    Parameters
    ----------
    hosts
        Host names (without port) that requests may be addressed to; None for any. A node
        without access control must insist: a page of any site can make its own name point
        at 127.0.0.1 and would otherwise read here what the browser's user could.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, hosts: Collection[str] | None = None) -> None:
        self._app = app
        self._tally = Tally(metrics, in_flight=lambda: len(self._running))
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._known_hosts: dict[bytes, bool] = {}
        self._running: set[asyncio.Task[Any]] = set()
        #: Set when the listener stops: requests that are held until something happens answer now.
        self.stopping = asyncio.Event()
        #: Set before that: answers ask clients to take their next request elsewhere.
        self.leaving = asyncio.Event()
        self._idle: asyncio.Future[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _Request(scope, receive, send)
        scope[STOPPING], scope[LEAVING] = self.stopping, self.leaving
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the server runs each request in a task of its own
        self._running.add(task)
        try:
            if self._hosts is None or self._is_for_us(scope):
                await self._app(scope, request.receive, request.send)
            else:
                await request.answer(421, _MISDIRECTED)
        except (ClientGone, asyncio.CancelledError):
            pass  # nobody is waiting: the task ends here
        except Exception as error:  # noqa: BLE001 - here a request ends
            _log.error("request_failed", route=request.route, error=error)
            if not request.status:
                await request.answer(500, _FAILED)
            # Otherwise we return with the answer unfinished, and the server cuts it.
        finally:
            self._running.discard(task)
            if self._idle is not None and not self._running and not self._idle.done():
                self._idle.set_result(None)
            request.end()
            self._tally.add(request)

    def idle(self) -> asyncio.Future[None]:
        """Return a future that is done once no request is being answered."""
        self._idle = asyncio.get_running_loop().create_future()
        if not self._running:
            self._idle.set_result(None)
        return self._idle

    async def cancel_running(self) -> int:
        """Cancel the requests still being answered; return how many there were."""
        running = list(self._running)
        await tasks.cancel(running)
        return len(running)

    def _is_for_us(self, scope: Scope) -> bool:
        named = [value for name, value in scope["headers"] if name == b"host"]
        if len(named) != 1:  # none: HTTP/1.0, which nothing that we serve speaks; several: RFC 9112 section 3.2
            return False
        known = self._known_hosts.get(named[0])
        return self._look_up(named[0]) if known is None else known

    def _look_up(self, host: bytes) -> bool:
        ours = host_without_port(host.decode("latin-1")) in (self._hosts or ())
        if ours and len(self._known_hosts) < _KNOWN_HOSTS:
            self._known_hosts[host] = True
        return ours


def host_without_port(host: str) -> str:
    """Return ``"::1"`` for ``"[::1]:8042"``, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


class _Request:
    """What one request does with `receive` and `send`."""

    __slots__ = (
        "_gone",
        "_is_head",
        "_receive",
        "_scope",
        "_send",
        "_watch",
        "began_s",
        "complete",
        "received_bytes",
        "sent_bytes",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._is_head = scope["method"] == "HEAD"
        self._gone = False
        self._watch: asyncio.Task[None] | None = None
        self.began_s = time.perf_counter()
        self.status = 0
        self.complete = False
        self.received_bytes = 0
        self.sent_bytes = 0

    @property
    def route(self) -> str:
        """What the application called it."""
        route: str = self._scope.get("state", {}).get("route", "other")
        return route

    async def receive(self) -> Message:
        if self._watch is not None:
            # The watch has taken over reading: all that can come is the end.
            await asyncio.wait([self._watch])
            return _DISCONNECT
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
            return _DISCONNECT
        self.received_bytes += len(message.get("body", b""))
        if self.received_bytes and not message.get("more_body", False) and not await self._upload_is_whole():
            self._gone = True
            return _DISCONNECT
        return message

    async def _upload_is_whole(self) -> bool:
        # The HTTP library reports a stream that was reset with CANCEL as ended: RST_STREAM
        # must not pass for the end of an object.
        for name, value in self._scope["headers"]:
            if name == b"content-length":
                return self.received_bytes >= int(value)
        if self._scope["http_version"] == "2":
            self._watch = tasks.spawn(self._watch_client(), name="watch client")
            await asyncio.wait([self._watch], timeout=_CANCELLATION_SHOWS_S)
        return not self._gone

    async def send(self, message: Message) -> None:
        if self._gone:
            raise ClientGone("the client has gone")
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # HTTP/2 has no such field: its connection is asked to close as a whole.
            if self._scope[LEAVING].is_set() and self._scope["http_version"].startswith("1"):
                message = {**message, "headers": [*message["headers"], _CLOSE]}
            await self._send(message)
            return
        more = message.get("more_body", False)
        if self._is_head:
            if more:
                return
            message = {"type": "http.response.body", "body": b""}
        elif more and self._watch is None:
            self._watch = tasks.spawn(self._watch_client(), name="watch client")
        self.sent_bytes += len(message.get("body", b""))
        self.complete = not more
        await self._send(message)

    async def answer(self, status: int, body: bytes) -> None:
        """Send a whole answer."""
        headers = [*_PROBLEM, (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def end(self) -> None:
        """Stop watching the client."""
        if self._watch is not None:
            self._watch.cancel()

    async def _watch_client(self) -> None:
        # An answer in several parts follows the whole request, so all that is left to
        # receive is the rest of a body nobody wants, and the end.
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
