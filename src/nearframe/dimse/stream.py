"""Bytes of a connection become PDUs, and fragments as they come: nothing waits to be whole but what is small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nearframe.dimse.pdu import (
    HEADER_BYTES,
    PDV_HEADER_BYTES,
    AbortReason,
    FragmentHeader,
    PDUType,
    SmallPDU,
    read_fragment_header,
    read_header,
    read_pdu,
)
from nearframe.errors import MalformedPDU
from nearframe.units import KIB

#: Of any PDU but P-DATA-TF: a request with 128 contexts of 60 syntaxes each would need more, and nobody sends it.
MAX_SMALL_BYTES: Final = 64 * KIB
#: By their first bytes: an alert, a handshake (RFC 8446 section 5.1), and "GET", "HTTP", "POST".
_OTHER_PROTOCOLS: Final = dict.fromkeys((0x15, 0x16), "TLS, which is spoken on one side only") | dict.fromkeys(
    b"GHP", "HTTP, which is another protocol"
)
_NO_BYTES: Final = memoryview(b"")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a fragment.

    Attributes
    ----------
    data
        Valid until the next call of `PDUStream.feed`.
    is_end
        True if the fragment ends with them.
    """

    header: FragmentHeader
    data: memoryview
    is_end: bool


class PDUStream:
    """Reads PDUs from bytes as they come.

    Parameters
    ----------
    max_data_bytes
        The largest body of P-DATA-TF that was offered to the peer.
    """

    def __init__(self, max_data_bytes: int) -> None:
        self._max_data_bytes = max_data_bytes
        self._waiting = bytearray()  # the part of a header, or of a small body, that came so far
        self._small: tuple[PDUType, int] | None = None
        self._data_left = 0  # of the P-DATA-TF that is being read
        self._fragment: FragmentHeader | None = None
        self._fragment_left = 0

    @property
    def is_between_pdus(self) -> bool:
        """True if nothing of a PDU has come that is not complete."""
        return not (self._waiting or self._small or self._data_left or self._fragment)

    def feed(self, data: memoryview) -> Iterator[SmallPDU | Piece]:
        """Yield what some more bytes complete.

        Raises
        ------
        MalformedPDU
            If they are not PDUs, or larger than they may be: known from the header alone.
        """
        while data or self._is_empty():
            if self._fragment is not None:
                piece, data = self._piece(self._fragment, data)
                yield piece
            elif self._data_left:
                data = self._begin_fragment(data)
            elif self._small is not None:
                pdu, data = self._small_pdu(*self._small, data)
                if pdu is not None:
                    yield pdu
            else:
                data = self._begin_pdu(data)

    def _is_empty(self) -> bool:
        """True if what was begun needs no more bytes."""
        if self._fragment is not None:
            return self._fragment_left == 0
        return self._small is not None and self._small[1] == 0

    def _begin_pdu(self, data: memoryview) -> memoryview:
        header, data = self._take(HEADER_BYTES, data)
        if header is None:
            return data
        kind, length = read_header(header)
        if kind == PDUType.P_DATA_TF:
            if length > self._max_data_bytes:
                raise MalformedPDU(f"a P-DATA-TF of {length} bytes, where {self._max_data_bytes} were offered")
            if length < PDV_HEADER_BYTES:
                raise MalformedPDU("a P-DATA-TF without a presentation data value")
            self._data_left = length
            return data
        try:
            known = PDUType(kind)
        except ValueError:
            what = _OTHER_PROTOCOLS.get(kind, f"a PDU of type {kind:#04x}")
            raise MalformedPDU(what, AbortReason.UNRECOGNIZED_PDU) from None
        if length > MAX_SMALL_BYTES:
            raise MalformedPDU(f"{known.name} of {length} bytes; at most {MAX_SMALL_BYTES} are read")
        self._small = known, length
        return data

    def _small_pdu(self, kind: PDUType, length: int, data: memoryview) -> tuple[SmallPDU | None, memoryview]:
        body, data = self._take(length, data)
        if body is None:
            return None, data
        self._small = None
        return read_pdu(kind, body), data

    def _begin_fragment(self, data: memoryview) -> memoryview:
        if self._data_left < PDV_HEADER_BYTES:
            raise MalformedPDU("bytes behind the last presentation data value of a P-DATA-TF")
        raw, data = self._take(PDV_HEADER_BYTES, data)
        if raw is None:
            return data
        header = read_fragment_header(raw)
        self._data_left -= PDV_HEADER_BYTES + header.size
        if self._data_left < 0:
            raise MalformedPDU("a presentation data value longer than its P-DATA-TF")
        self._fragment, self._fragment_left = header, header.size
        return data

    def _piece(self, header: FragmentHeader, data: memoryview) -> tuple[Piece, memoryview]:
        size = min(self._fragment_left, len(data))
        self._fragment_left -= size
        is_end = self._fragment_left == 0
        if is_end:
            self._fragment = None
        return Piece(header, data[:size] if size else _NO_BYTES, is_end), data[size:]

    def _take(self, size: int, data: memoryview) -> tuple[bytes | None, memoryview]:
        """Take `size` bytes in all; None while they are not there."""
        missing = size - len(self._waiting)
        if len(data) < missing:
            self._waiting += data
            return None, _NO_BYTES
        if not self._waiting:
            return bytes(data[:size]), data[size:]
        self._waiting += data[:missing]
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken, data[missing:]
