"""A request, read: who calls, what is named, what is accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from starlette.requests import Request
from starlette.types import Scope

from nearframe.context import Context
from nearframe.dicomweb.address import Addresses
from nearframe.errors import MalformedRequest
from nearframe.ids import normalise_uid
from nearframe.wire.accept import AcceptRange, parse_accept

#: Says who makes a request, or raises `AccessError`; asked before anything is looked up.
Gate: TypeAlias = Callable[[Scope], Context]

#: PS3.5 allows 64; some writers exceed it. Longer is a mistake or an attack.
MAX_UID_CHARS = 256
MAX_FRAMES = 10_000  # of one request


@dataclass(frozen=True, slots=True)
class Call:
    """One request with what every handler needs of it."""

    request: Request
    context: Context
    service_url: str

    @classmethod
    def of(cls, request: Request, gate: Gate, addresses: Addresses) -> Call:
        return cls(request, gate(request.scope), addresses.service(request))

    @property
    def study(self) -> str:
        return self._uid("study")

    @property
    def series(self) -> str | None:
        return self._uid("series") if "series" in self.request.path_params else None

    @property
    def instance(self) -> str | None:
        return self._uid("instance") if "instance" in self.request.path_params else None

    @property
    def version(self) -> int | None:
        """The ``version`` parameter: number of a version, or of a feed sequence."""
        text = self.query("version")
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise MalformedRequest("version is a whole number")
        return int(text)

    @property
    def accepted(self) -> tuple[AcceptRange, ...]:
        """What the client accepts: the ``accept`` parameter before the header."""
        return parse_accept(", ".join(self.request.headers.getlist("accept")), self.query("accept"))

    def query(self, name: str) -> str | None:
        """Return a query parameter, or None."""
        return self.request.query_params.get(name)

    def frame_numbers(self) -> tuple[int, ...]:
        """Return the one-based numbers of the frame list, in the order asked."""
        return frame_numbers(self.request.path_params["frames"])

    def _uid(self, name: str) -> str:
        uid = normalise_uid(self.request.path_params[name])
        if not 0 < len(uid) <= MAX_UID_CHARS:
            raise MalformedRequest(f"a UID has 1 to {MAX_UID_CHARS} characters")
        return uid


def frame_numbers(text: str) -> tuple[int, ...]:
    """Read ``1,2,5`` as one-based frame numbers (PS3.18 section 10.4.1.1.2).

    Raises
    ------
    MalformedRequest
        If it is not a list of numbers from one up, or has more than `MAX_FRAMES`.
    """
    members = text.split(",", MAX_FRAMES)
    if len(members) > MAX_FRAMES:
        raise MalformedRequest(f"one request takes at most {MAX_FRAMES} frames")
    numbers = tuple(int(m) for m in members if m.isascii() and m.isdigit() and len(m) <= 9)
    if len(numbers) != len(members) or 0 in numbers:
        raise MalformedRequest("frames are named by their numbers, counted from 1, separated by commas")
    return numbers
