"""The server: granian, inside this process, behind a seam that knows nothing of it (ADR 0001)."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from granian.constants import Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.net import SocketHolder  # type: ignore[attr-defined]  # its own server imports it from here
from granian.server.embed import Server
from starlette.types import ASGIApp

from nearframe import log, tasks
from nearframe.config import Settings
from nearframe.errors import ConfigurationError
from nearframe.listener.address import BACKLOG, bind, cut_connections, is_loopback
from nearframe.listener.exchange import Exchange
from nearframe.metrics import Metrics
from nearframe.settingkinds import Address
from nearframe.units import KIB, MIB

_log = log.logger(__name__)

GRACE_S = 10.0  # a frame takes milliseconds; what lasts longer is a sync or an upload, which resume
CLOSE_S = 0.25  # for clients to close when asked to

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

_HTTP1 = HTTP1Settings(header_read_timeout=30_000)
_HTTP2 = HTTP2Settings(
    initial_connection_window_size=4 * MIB,  # an upload of several streams
    initial_stream_window_size=1 * MIB,
    max_concurrent_streams=128,
    max_frame_size=64 * KIB,  # of an upload: fewer, larger messages
    max_headers_size=64 * KIB,  # the server's own default of 16 MiB invites abuse
    keep_alive_interval=30_000,
    keep_alive_timeout=20,
)


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """A certificate chain and its private key, both PEM."""

    certificate: Path
    key: Path


class Listener:
    """A listening socket and the server behind it.

    The socket is bound on construction, so `url` is known and connections queue before
    `start`. Runs on the event loop that calls `start`; several may run on one loop.

    Parameters
    ----------
    hosts
        See `Exchange`.
    """

    def __init__(
        self,
        app: ASGIApp,
        address: Address,
        *,
        metrics: Metrics,
        tls: TLSFiles | None = None,
        hosts: Collection[str] | None = None,
    ) -> None:
        if tls is not None:
            check_certificate(tls)
        self._socket = bind(address)
        host, port = self._socket.getsockname()[:2]
        self.address = Address(host, port)
        self.url = f"{'https' if tls else 'http'}://{self.address}"
        self._tls = tls
        self._exchange = Exchange(app, metrics, hosts)
        self._server: _Embedded | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._server = _Embedded(self._exchange, self._socket, self._tls)
        self._serving = tasks.spawn(self._server.serve(), name=f"listener {self.address.port}")

    async def wait(self) -> None:
        """Return when the server has ended, for whatever reason."""
        if self._serving is not None:
            await asyncio.wait([self._serving])

    async def drain(self, wait_s: float) -> None:
        """Say that this node is about to stop, and for a while go on answering whoever has not heard."""
        self._exchange.leaving.set()
        if self._serving is not None:
            await asyncio.wait([self._serving], timeout=wait_s)

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Refuse new connections, let running requests finish for a while, then cut them."""
        if self._server is None or self._serving is None:
            self._socket.close()
            return
        self._exchange.leaving.set()
        self._exchange.stopping.set()
        self._server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait([self._serving, self._exchange.idle()], timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        if cut := await self._exchange.cancel_running():
            _log.warning("requests_cut_at_stop", requests=cut)
        # An HTTP/2 client is asked to close, and one that does not listen would keep us here.
        await asyncio.wait([self._serving], timeout=CLOSE_S)
        while not self._serving.done():
            cut_connections(self.address)
            await asyncio.wait([self._serving], timeout=CLOSE_S)


async def serve(
    app: ASGIApp, settings: Settings, metrics: Metrics, *, ready: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Serve `app` as the settings say, until `stop` is set.

    Parameters
    ----------
    ready
        Called once with the base URL when connections are accepted.

    Raises
    ------
    ConfigurationError
        If the node may not listen there, or the certificate cannot be used.
    """
    require_insecure_loopback(settings)
    tls = TLSFiles(settings.tls_cert, settings.tls_key) if settings.tls_cert and settings.tls_key else None
    public_host = urlsplit(settings.public_base_url).hostname
    hosts = [*_LOOPBACK_NAMES, settings.http.host, *([public_host] if public_host else [])]
    listener = Listener(app, settings.http, metrics=metrics, tls=tls, hosts=hosts)
    await listener.start()
    ready(listener.url)
    stopping = tasks.spawn(stop.wait(), name="wait for stop")
    ended = tasks.spawn(listener.wait(), name="wait for listener")
    await asyncio.wait([stopping, ended], return_when=asyncio.FIRST_COMPLETED)
    await listener.drain(settings.drain_s)
    await listener.stop(settings.stop_grace_s)
    await tasks.cancel([stopping, ended])


def require_insecure_loopback(settings: Settings) -> None:
    """Refuse to run without access control unless that is accepted, and then anywhere but on loopback.

    Raises
    ------
    ConfigurationError
        Saying what ``--insecure`` means.
    """
    if not settings.insecure:
        raise ConfigurationError(
            "there is no access control yet: whoever reaches this node may read, add and change every study; "
            "start it with --insecure to accept that, and it listens on this machine only"
        )
    if not is_loopback(settings.http):
        raise ConfigurationError(
            f"--http {settings.http} is reachable from other machines, and there is no access control yet: "
            "with --insecure use 127.0.0.1, [::1] or localhost"
        )


def check_certificate(tls: TLSFiles) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"tls_cert and tls_key do not fit together or are not PEM: {error.reason}; nearframe tls dev makes a pair"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"cannot read tls_cert or tls_key: {error.strerror}") from error


class _Embedded(Server):
    """Granian on a socket of ours, silent unless something fails."""

    def __init__(self, app: ASGIApp, listening: socket.socket, tls: TLSFiles | None) -> None:
        self._listening = listening
        super().__init__(
            target=app,
            interface=Interfaces.ASGINL,
            backlog=BACKLOG,
            websockets=False,
            http1_settings=_HTTP1,
            http2_settings=_HTTP2,
            ssl_cert=tls.certificate if tls else None,
            ssl_key=tls.key if tls else None,
            log_level=LogLevels.error,
            # Without "incremental" it would replace the handlers of the whole process.
            log_dictconfig={"incremental": True, "handlers": {}, "loggers": {"_granian": {"level": logging.ERROR}}},
        )

    def _init_shared_socket(self) -> None:
        # The holder owns the descriptor from here on and closes it.
        self._shd = SocketHolder(self._listening.detach(), False, BACKLOG)  # type: ignore[call-arg, assignment]
        self._ssp = None
