"""multipart/related (RFC 2387) and multipart/byteranges: a push parser and a writer.

The parser is fed chunks of any size and returns events; it holds back at most one
header block or one delimiter, never a part. It accepts what store clients really send
(measured): a CRLF or a whole preamble before the first boundary, NUL or any other
epilogue, no CRLF after the closing delimiter, header names in any case, a quoted
boundary.

::

               delimiter                  blank line               delimiter
    PREAMBLE ------------> PART HEADERS ------------> PART BODY ---------------> PART HEADERS
        |                       ^                         |
        | "--B--"               └─────────────────────────┘     "--B--"
        └──────────────────────────────────────────────────────────────────────> EPILOGUE
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from nearframe.errors import LimitExceeded, MalformedRequest
from nearframe.ids import sha256
from nearframe.wire.mediatype import MediaType

MAX_BOUNDARY_CHARS = 70  # RFC 2046 section 5.1.1
MAX_HEADER_BYTES = 16 * 1024  # of one part; real ones have some 200
MAX_PREAMBLE_BYTES = 64 * 1024  # real ones: two bytes, or a sentence for people
MAX_PARTS = 100_000  # one store request carries at most a large series
MAX_PADDING_BYTES = 64  # white space after a boundary (RFC 2046 "transport padding")

#: Cornerstone wants the first blank line within 1000 bytes, OHIF's bulk data reader within 512.
MAX_WRITTEN_HEADER_BYTES = 512

_CRLF = b"\r\n"


@dataclass(frozen=True, slots=True)
class PartStart:
    """A part begins; header names are in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """Bytes of the part that began last: a view of what was fed, for as long as the reader needs it."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part that began last is complete."""


@dataclass(frozen=True, slots=True)
class End:
    """The closing delimiter was read; whatever follows is ignored."""


Event: TypeAlias = PartStart | PartData | PartEnd | End


class _State(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    BODY = auto()
    EPILOGUE = auto()


class MultipartParser:
    """Reads one multipart body.

    Parameters
    ----------
    boundary
        The boundary parameter, unquoted.
    max_parts
        More parts than this raise `LimitExceeded`.

    Raises
    ------
    MalformedRequest
        If the boundary is empty, too long, or not ASCII.
    """

    def __init__(self, boundary: str, *, max_parts: int = MAX_PARTS) -> None:
        if not 0 < len(boundary) <= MAX_BOUNDARY_CHARS or not (boundary.isascii() and boundary.isprintable()):
            raise MalformedRequest(f"a multipart boundary has 1 to {MAX_BOUNDARY_CHARS} printable ASCII characters")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # The body may open with its first boundary: read it as if a line had ended before.
        self._buffer = _CRLF
        self._at = 0  # what stands before it is done with
        # Bytes from there on that belong to a delimiter only, never to data.
        self._borrowed = len(_CRLF)
        self._state = _State.PREAMBLE
        self._preamble_bytes = 0
        self._parts = 0
        self._max_parts = max_parts

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes of the body and return what they complete.

        Raises
        ------
        MalformedRequest, LimitExceeded
            The parser must not be used afterwards.
        """
        if self._state is _State.EPILOGUE:
            return []
        self._buffer = self._buffer + data if self._buffer else data
        events: list[Event] = []
        while self._step(events):
            pass
        self._buffer = self._buffer[self._at :]
        self._at = 0
        return events

    def close(self) -> None:
        """Say that the body has ended.

        Raises
        ------
        MalformedRequest
            If no closing delimiter came: the last part may be cut short.
        """
        if self._state is _State.PREAMBLE:
            raise MalformedRequest(
                "the multipart body never reaches its boundary; compare it with the Content-Type header"
            )
        if self._state is not _State.EPILOGUE:
            raise MalformedRequest("the multipart body ends without its closing delimiter: it was cut short")

    def _step(self, events: list[Event]) -> bool:
        if self._state is _State.HEADERS:
            return self._read_headers(events)
        if self._state is _State.EPILOGUE:
            return False
        return self._read_to_delimiter(events)

    def _read_to_delimiter(self, events: list[Event]) -> bool:
        at, after = self._find_delimiter()
        self._take(events, at)
        if after is None:
            return False
        if self._state is _State.BODY:
            events.append(PartEnd())
        closing = self._buffer.startswith(b"--", at + len(self._delimiter))
        self._at = after
        if closing:
            events.append(End())
            self._state = _State.EPILOGUE
            self._at = len(self._buffer)
            return False
        self._parts += 1
        if self._parts > self._max_parts:
            raise LimitExceeded("parts of one multipart body", self._max_parts)
        self._state = _State.HEADERS
        return True

    def _find_delimiter(self) -> tuple[int, int | None]:
        """Return where the data ends for now, and where the delimiter line behind it ends, None if not known yet."""
        at = self._buffer.find(self._delimiter, self._at)
        while at >= 0:
            after = self._end_of_delimiter(at + len(self._delimiter))
            if after is None or after >= 0:
                return at, after
            # Longer than the boundary: data that only begins like it.
            at = self._buffer.find(self._delimiter, at + len(_CRLF))
        return len(self._buffer) - _overlap(self._buffer, self._at, self._delimiter), None

    def _end_of_delimiter(self, at: int) -> int | None:
        """Return where the delimiter line beginning before `at` ends, -1 if it is none, None if unknown yet."""
        buffer = self._buffer
        if buffer.startswith(b"--", at):
            return at + 2
        stop = at
        while stop < len(buffer) and buffer[stop] in b" \t":
            stop += 1
            if stop - at > MAX_PADDING_BYTES:
                return -1
        if buffer.startswith(_CRLF, stop):
            return stop + len(_CRLF)
        rest = buffer[stop : stop + 2]
        undecided = rest in (b"", b"\r") or (rest == b"-" and stop == at)
        return None if undecided else -1

    def _take(self, events: list[Event], stop: int) -> None:
        """Be done with the buffer up to `stop`; in a part it is its data."""
        if stop <= self._at:
            return
        start = min(self._at + self._borrowed, stop)
        self._borrowed = max(0, self._borrowed - (stop - self._at))
        count, self._at = stop - self._at, stop
        if self._state is _State.BODY:
            if start < stop:
                events.append(PartData(memoryview(self._buffer)[start:stop]))
            return
        self._preamble_bytes += count
        if self._preamble_bytes > MAX_PREAMBLE_BYTES:
            raise LimitExceeded("bytes before the first multipart boundary", MAX_PREAMBLE_BYTES)

    def _read_headers(self, events: list[Event]) -> bool:
        # A part without headers begins with the blank line itself.
        is_bare = self._buffer.startswith(_CRLF, self._at)
        at = self._at - len(_CRLF) if is_bare else self._buffer.find(b"\r\n\r\n", self._at)
        length = 0 if is_bare else (len(self._buffer) if at < 0 else at) - self._at
        if length > MAX_HEADER_BYTES:
            raise LimitExceeded("header bytes of a multipart part", MAX_HEADER_BYTES)
        if at < 0 and not is_bare:
            return False
        events.append(PartStart(_parse_headers(self._buffer[self._at : at] if length else b"")))
        # The blank line's CRLF stays: the delimiter of an empty part may use it.
        self._at = at + len(_CRLF)
        self._borrowed = len(_CRLF)
        self._state = _State.BODY
        return True


def _overlap(buffer: bytes, start: int, delimiter: bytes) -> int:
    """Return how many bytes at the end of `buffer` could begin a delimiter."""
    # Only its first character is a CR, so only the last CR can begin one.
    at = buffer.rfind(b"\r", max(start, len(buffer) - len(delimiter) + 1))
    return len(buffer) - at if at >= 0 and delimiter.startswith(buffer[at:]) else 0


def _parse_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for line in block.decode("latin-1").split("\r\n"):
        if line[:1] in (" ", "\t") and name:  # folded (obsolete, RFC 5322 section 2.2.3)
            headers[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if colon and name:
            headers.setdefault(name, value.strip())
        elif line:
            raise MalformedRequest("a header line of a multipart part has no colon")
    return headers


# -- writing -------------------------------------------------------------------------------


def boundary_for(*digests: bytes) -> str:
    """Return the boundary of a body made of contents with these digests.

    Stable, so that a Range continues the body an earlier request began. A payload that
    contains it would have to contain a hash of its own hash; nobody can make one.
    """
    return "nf-" + sha256(b"nearframe boundary" + b"".join(digests)).hex()[:40]


def content_type(boundary: str, part: MediaType, subtype: str = "related") -> str:
    """Return the Content-Type of the whole body.

    It names the part's type and transfer syntax too: some clients look nowhere else.
    """
    transfer_syntax = part.get("transfer-syntax")
    suffix = "" if transfer_syntax is None else f"; transfer-syntax={transfer_syntax}"
    return f'multipart/{subtype}; type="{part.essence}"{suffix}; boundary={boundary}'


def part_head(
    boundary: str, part: str, *, first: bool, length: int | None = None, location: str | None = None
) -> bytes:
    """Return delimiter and headers of a part, up to where its payload begins.

    Header names are spelled exactly so: a reader that finds no ``Content-Type`` decodes the
    payload as Implicit VR Little Endian, and shows a wrong picture.

    Parameters
    ----------
    part
        Content-Type of the part, ``transfer-syntax`` parameter included.
    location
        Content-Location; left out if it would make the headers longer than clients read.
    """
    lines = [f"--{boundary}", f"Content-Type: {part}"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    if location is not None and sum(map(len, lines)) + len(location) < MAX_WRITTEN_HEADER_BYTES - 64:
        lines.append(f"Content-Location: {location}")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if first else _CRLF + head


def closing(boundary: str) -> bytes:
    """Return the closing delimiter."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")


def joined(boundary: str, parts: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a whole body of small parts, each ``(content type, payload)``."""
    out = bytearray()
    for index, (part, payload) in enumerate(parts):
        out += part_head(boundary, part, first=index == 0, length=len(payload)) + payload
    return bytes(out) + closing(boundary)
