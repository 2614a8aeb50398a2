"""One connection of DICOM's upper layer: bytes in and out, flow control, and the clock.

The only module of this package that touches a transport. Bytes are received into one
buffer that is used again and again: small until there is an association, larger then.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from nearframe.dimse.pdu import SmallPDU
from nearframe.dimse.stream import PDUStream, Piece
from nearframe.errors import AssociationLost, MalformedPDU
from nearframe.units import KIB, MIB

#: Nothing before an association needs more: 300 silent sockets cost 1.2 MB.
_SMALL_BUFFER: Final = 4 * KIB
_BUFFER: Final = 128 * KIB
_TICK_S: Final = 1.0
#: Who was told that it is over, and sends more than this all the same, is cut off.
_MOST_IGNORED_BYTES: Final = MIB


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a peer may take.

    Attributes
    ----------
    connect_s
        Until TCP and TLS stand, where we connect.
    associate_s
        From there to a whole request or answer; also for the peer to close after the last PDU
        (ARTIM, PS3.8 section 9.1.5).
    idle_s
        Between messages.
    stall_s, stall_bytes
        Within a message at least so many bytes come in each such span.
    answer_s
        For the answer to a request of ours.
    """

    connect_s: float = 5.0
    associate_s: float = 5.0
    idle_s: float = 120.0
    stall_s: float = 10.0
    stall_bytes: int = 4 * KIB
    answer_s: float = 60.0


class Handler(Protocol):
    """What a channel tells. All of it on the event loop, and none of it may raise but `MalformedPDU`."""

    def on_open(self) -> None: ...
    def on_pdu(self, pdu: SmallPDU) -> None: ...
    def on_piece(self, piece: Piece) -> None: ...
    def on_malformed(self, error: MalformedPDU) -> None: ...
    def on_closed(self, error: Exception | None) -> None: ...

    def on_tick(self, now_s: float) -> None:
        """Look at what has taken too long; called about once a second."""
        ...


class Channel(asyncio.BufferedProtocol):
    """The transport of one association.

    Parameters
    ----------
    max_data_bytes
        See `PDUStream`.
    """

    def __init__(self, handler: Handler, max_data_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._stream = PDUStream(max_data_bytes)
        self._buffer = memoryview(bytearray(_SMALL_BUFFER))
        self._transport: asyncio.Transport | None = None
        self._is_read = True
        self._writable = asyncio.Event()
        self._writable.set()
        self._ticking: asyncio.TimerHandle | None = None
        self._is_deaf = False
        self._ignored_bytes = 0
        self.received_bytes = 0
        self.sent_bytes = 0

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The peer's side of TLS, None without."""
        found = self._transport.get_extra_info("ssl_object") if self._transport else None
        return found if isinstance(found, ssl.SSLObject) else None

    @property
    def is_reading(self) -> bool:
        """True unless we hold the peer back."""
        return self._is_read

    @property
    def is_between_pdus(self) -> bool:
        return self._stream.is_between_pdus

    def now_s(self) -> float:
        return self._loop.time()

    # -- out -----------------------------------------------------------------------------------

    def send(self, data: bytes | Iterable[bytes | bytearray | memoryview]) -> None:
        """Send bytes; what cannot go at once is kept, so await `writable` between large ones."""
        if self._transport is None or self._transport.is_closing():
            return
        whole = data if isinstance(data, bytes) else b"".join(data)
        self.sent_bytes += len(whole)
        self._transport.write(whole)

    async def writable(self, patience_s: float) -> None:
        """Wait until the peer has taken most of what was sent.

        Raises
        ------
        AssociationLost
            If it is gone.
        TimeoutError
            If it takes longer than `patience_s`.
        """
        if not self._writable.is_set():
            async with asyncio.timeout(patience_s):
                await self._writable.wait()
        if self._transport is None or self._transport.is_closing():
            raise AssociationLost

    def ignore_more(self) -> None:
        """Take no notice of what comes, until the peer closes or does not stop."""
        self._is_deaf = True
        self.read_on()

    def close(self) -> None:
        """Send what is waiting, then close."""
        self._is_deaf = True
        if self._transport is not None:
            self._transport.close()

    def cut(self) -> None:
        """Close at once."""
        self._is_deaf = True
        if self._transport is not None:
            self._transport.abort()

    # -- in ------------------------------------------------------------------------------------

    def widen(self) -> None:
        """Have the large buffer from now on: there is an association."""
        # Called from within `buffer_updated`, whose view of the old buffer stays valid.
        self._buffer = memoryview(bytearray(_BUFFER))

    def hold_back(self) -> None:
        """Read no more for now."""
        if self._is_read and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._is_read = False

    def read_on(self) -> None:
        """Read again."""
        if not self._is_read and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._is_read = True

    # -- asyncio's side ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._ticking = self._loop.call_later(_TICK_S, self._tick)
        self._handler.on_open()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_deaf:
            self._ignored_bytes += nbytes
            if self._ignored_bytes > _MOST_IGNORED_BYTES:
                self.cut()
            return
        self.received_bytes += nbytes
        try:
            for found in self._stream.feed(self._buffer[:nbytes]):
                if isinstance(found, Piece):
                    self._handler.on_piece(found)
                else:
                    self._handler.on_pdu(found)
                if self._is_over():
                    return
        except MalformedPDU as error:
            self._is_deaf = True  # whatever follows cannot be told apart
            self._handler.on_malformed(error)

    def _is_over(self) -> bool:
        return self._is_deaf

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_deaf = True
        self._transport = None
        self._writable.set()
        if self._ticking is not None:
            self._ticking.cancel()
        self._buffer = memoryview(b"")
        self._handler.on_closed(exc)

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(_TICK_S, self._tick)
        self._handler.on_tick(self._loop.time())
