"""Sending a message, and waiting for what is said to it."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from typing import Final

from nearframe.dimse import words
from nearframe.dimse.tls import cause_of
from nearframe.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable
from nearframe.hl7.acknowledgement import Header
from nearframe.hl7.mllp import Frame, FrameReader, framed
from nearframe.settingkinds import Address
from nearframe.units import KIB, MIB

_READ_BYTES: Final = 64 * KIB
_MAX_ANSWER_BYTES: Final = MIB
_LINE_ENDS: Final = re.compile(rb"[\r\n\x0b\x1c]+")
_ENVELOPES: Final = (b"", b"BTS", b"FTS", b"BHS", b"FHS")


def messages_in(data: bytes) -> Iterator[bytes]:
    """Yield the messages of a file, as they are sent: segments that end with CR, no frames, no envelope of a batch."""
    message: list[bytes] = []
    for line in _LINE_ENDS.split(data):
        if line.startswith(b"MSH") and message:
            yield b"\r".join(message) + b"\r"
            message = []
        if line.startswith(b"MSH") or (message and line[:3] not in _ENVELOPES):
            message.append(line)
    if message:
        yield b"\r".join(message) + b"\r"


async def send(
    message: bytes, address: Address, patience_s: float, tls: ssl.SSLContext | None = None, tls_name: str = ""
) -> list[bytes]:
    """Send a message, and return its acknowledgements: as many as it asks for.

    Raises
    ------
    UpstreamUnavailable
        If nobody listens there, or TLS does not come about.
    UpstreamTimeout
        If the answer does not come in time.
    UpstreamError
        If the connection ends before it does.
    """
    try:
        async with asyncio.timeout(patience_s):
            name = (tls_name or address.host) if tls else None
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls, server_hostname=name)
            try:
                writer.write(framed(message))
                return await _answers(reader, _expected(Header.of(message)))
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        raise UpstreamTimeout(f"{address} does not answer within {patience_s:g} s") from error
    except OSError as error:
        if isinstance(error, ssl.SSLError) or (tls and isinstance(error, ConnectionResetError)):
            raise UpstreamUnavailable(f"TLS with {address} does not come about ({cause_of(error)})") from error
        raise UpstreamUnavailable(f"{address} cannot be reached: {words.unreachable(error)}") from error


def _expected(header: Header) -> int:
    """Return how many acknowledgements there are to be; where that depends on the outcome, one is waited for."""
    conditions = [header.asks_acceptance, header.asks_application]
    if not header.is_enhanced:
        return 1
    return conditions.count("AL") or (0 if set(conditions) <= {"NE", ""} else 1)


async def _answers(reader: asyncio.StreamReader, expected: int) -> list[bytes]:
    frames, found = FrameReader(_MAX_ANSWER_BYTES), list[Frame]()
    while len(found) < expected:
        data = await reader.read(_READ_BYTES)
        if not data:
            if found:  # it was rejected: then nothing more is said
                break
            raise UpstreamError("the connection was closed without an answer: it may not be for us, or not for HL7")
        found += frames.feed(data)
    return [frame.data for frame in found]
