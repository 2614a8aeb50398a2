"""Listens for messages: frames in, one after the other, their acknowledgements out on the same connection.

The next frame of a connection is read once the one before is answered: a sender that does not
wait for its acknowledgements waits in its own buffers.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from nearframe import log
from nearframe.dimse.tls import cause_of
from nearframe.errors import MalformedRequest
from nearframe.hl7.mllp import Frame, FrameReader, framed
from nearframe.listener.reception import Reception
from nearframe.metrics import HL7_CONNECTIONS, HL7_REFUSED, Metrics
from nearframe.settingkinds import Address
from nearframe.units import KIB

_log = log.logger(__name__)
_READ_BYTES: Final = 64 * KIB
_STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may take.

    Attributes
    ----------
    message_bytes
        Of the longest message.
    sockets, sockets_per_address
        Beyond these the connection goes that was idle longest. An interface engine has one for each feed.
    handshake_s
        Until TLS stands.
    idle_s
        Between messages; engines keep their connections for days, and open a new one where it is gone.
    stall_s
        Until the next bytes of a message that has begun, and until an answer is taken.
    """

    message_bytes: int
    sockets: int = 128
    sockets_per_address: int = 32
    handshake_s: float = 5.0
    idle_s: float = 24 * 3600.0
    stall_s: float = 30.0


class MLLPServer:
    """Listens on one address. For one event loop.

    Parameters
    ----------
    take
        Does what a message from an address says, and returns what is sent for it.
    may_connect
        Whether somebody may call from an address.
    """

    def __init__(
        self,
        take: Callable[[Frame, str], Awaitable[list[bytes]]],
        may_connect: Callable[[str], bool],
        limits: Limits,
        metrics: Metrics,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._take = take
        self._may_connect = may_connect
        self._limits = limits
        self._metrics = metrics
        self._tls = tls
        self._is_stopping = False
        self._reception = Reception(
            "hl7",
            self._attend,
            partial(self._refused, "too many connections"),
            sockets=limits.sockets,
            sockets_per_address=limits.sockets_per_address,
        )

    @property
    def address(self) -> Address | None:
        """Where it listens, None before it does."""
        return self._reception.address

    async def start(self, address: Address) -> None:
        """Begin to accept; raises `ConfigurationError` if the address cannot be listened on."""
        await self._reception.start(address)

    async def stop(self, grace_s: float = _STOP_S) -> None:
        """Accept no more, answer what is being worked on, and close."""
        self._is_stopping = True
        await self._reception.close()
        await self._reception.close_idle()
        await self._reception.finish(grace_s)
        await self._reception.cut()

    async def _attend(self, connection: socket.socket, address: str) -> None:
        if not self._may_connect(address):
            self._refused("address not known")
            connection.close()
            return
        try:
            reader, writer = await self._open(connection)
        except OSError as error:  # of TLS
            self._refused(cause_of(error))
            return
        self._metrics.add(HL7_CONNECTIONS)
        try:
            await self._serve(reader, writer, address)
        except MalformedRequest as error:
            self._refused("not MLLP")
            _log.warning("hl7_not_spoken", reason=str(error))
        except (OSError, TimeoutError) as error:
            _log.info("hl7_connection_lost", error=error)
        finally:
            self._metrics.add(HL7_CONNECTIONS, -1)
            writer.transport.abort()

    async def _open(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        handshake_s = self._limits.handshake_s if self._tls else None
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=handshake_s
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        frames = FrameReader(self._limits.message_bytes)
        while not self._is_stopping and (data := await self._read(reader, frames)):
            for frame in frames.feed(data):
                with self._reception.engaged():
                    answers = await self._take(frame, address)
                    writer.writelines(map(framed, answers))
                    async with asyncio.timeout(self._limits.stall_s):
                        await writer.drain()
        if not (frames.is_between_frames or self._is_stopping):
            _log.warning("hl7_cut", reason="the connection ended within a message")

    async def _read(self, reader: asyncio.StreamReader, frames: FrameReader) -> bytes:
        patience_s = self._limits.idle_s if frames.is_between_frames else self._limits.stall_s
        async with asyncio.timeout(patience_s):
            return await reader.read(_READ_BYTES)

    def _refused(self, reason: str) -> None:
        self._metrics.add(HL7_REFUSED, reason=reason)
