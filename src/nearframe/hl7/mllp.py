"""The minimal lower layer protocol: where a message begins and ends in a stream (HL7 2.5.1, Appendix C).

::

    frame = <VT> message <FS><CR>
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from nearframe.errors import MalformedRequest
from nearframe.units import KIB

VT: Final = b"\x0b"
FS: Final = b"\x1c"
CR: Final = b"\r"

_EDGE: Final = re.compile(VT + b"|" + FS)
#: Between frames: a line break or two are usual, and who sends more than this speaks something else.
MAX_STRAY_BYTES: Final = 64 * KIB
#: Kept of a message that is too long, to answer it: its first segment.
_KEPT_BYTES: Final = 4 * KIB
#: What follows FS; some senders write one of them, or none.
_ENDINGS: Final = b"\r\n"
#: By their first bytes, which no frame begins with.
_OTHER_PROTOCOLS: Final = {
    b"\x16\x03": "TLS, which is not spoken on this port",
    b"GET ": "HTTP, which is another protocol",
    b"POST": "HTTP, which is another protocol",
    b"\x01\x00": "DICOM, which is another protocol",
    b"MSH": "HL7 without the frame of MLLP (VT before, FS and CR behind)",
}


class Cut(Enum):
    """Why a message is not whole."""

    TOO_LONG = "too long"
    NOT_ENDED = "another one began before its end"


@dataclass(frozen=True, slots=True)
class Frame:
    """A message as it came.

    Attributes
    ----------
    data
        All of it; its beginning if it was cut.
    """

    data: bytes
    cut: Cut | None = None


class FrameReader:
    """Finds frames in bytes as they come, and holds one message at most.

    Parameters
    ----------
    max_bytes
        The longest message that is read.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._message: bytearray | None = None
        self._is_too_long = False
        self._stray = bytearray()  # the beginning of what stands between frames
        self._stray_bytes = 0

    @property
    def is_between_frames(self) -> bool:
        """True if nothing of a frame has come that is not complete."""
        return self._message is None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that some more bytes complete.

        Raises
        ------
        MalformedRequest
            If there are too many bytes in no frame: the peer speaks another protocol.
        """
        at = 0
        # Both are control characters that no message holds (HL7 2.5.1 section 2.14).
        for edge in _EDGE.finditer(data):
            self._take(data[at : edge.start()])
            at = edge.end()
            if self._message:
                yield self._complete(is_ended=edge[0] == FS)
            self._message = bytearray() if edge[0] == VT else None
        self._take(data[at:])

    def _take(self, data: bytes) -> None:
        if self._message is None:
            self._pass_over(data.strip(_ENDINGS))
        elif not self._is_too_long:
            self._message += data
            if len(self._message) > self._max_bytes:
                self._is_too_long = True
                del self._message[_KEPT_BYTES:]

    def _pass_over(self, stray: bytes) -> None:
        """Look at what stands between frames."""
        self._stray += stray[:_KEPT_BYTES]
        self._stray_bytes += len(stray)
        other = self._other_protocol()
        if other or self._stray_bytes > MAX_STRAY_BYTES:
            raise MalformedRequest(f"the peer does not speak MLLP but {other or 'something else'}")

    def _other_protocol(self) -> str:
        return next((name for first, name in _OTHER_PROTOCOLS.items() if self._stray.startswith(first)), "")

    def _complete(self, *, is_ended: bool) -> Frame:
        cut = Cut.TOO_LONG if self._is_too_long else None if is_ended else Cut.NOT_ENDED
        frame = Frame(bytes(self._message or b""), cut)
        self._is_too_long = False
        self._stray.clear()
        self._stray_bytes = 0
        return frame


def framed(message: bytes) -> bytes:
    """Return a message in its frame."""
    return VT + message + FS + CR
