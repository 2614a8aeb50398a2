"""What a request cost the line, for the headers of its answer (RFC 9211).

An answer is put together far below the place that writes headers. Whoever reads contents
notes here what it did, in the context of the request; `edge.headers` looks when the answer
starts.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from nearframe.context import Urgency


@dataclass(slots=True)
class Notes:
    """What happened during one request so far."""

    fetched: int = 0
    fetched_s: float = 0.0
    queued_s: float = 0.0
    stored: bool = True
    collapsed: bool = False
    #: The class that was decided, and the study as tenant and UID; None where the request is for no study.
    urgency: Urgency | None = None
    study: tuple[str, str] | None = None


notes: ContextVar[Notes | None] = ContextVar("cache_status_notes", default=None)


def note_fetch(took_s: float, queued_s: float, *, stored: bool, collapsed: bool) -> None:
    """Say that a content came, or joined one that was coming.

    Parameters
    ----------
    took_s
        Up to its first byte.
    queued_s
        Of these, until it was its turn on the line.
    stored
        Whether it is kept, as far as that is known when its first byte comes.
    """
    noted = notes.get()
    if noted is not None:
        noted.fetched += 1
        noted.fetched_s += took_s
        noted.queued_s += queued_s
        noted.stored &= stored
        noted.collapsed |= collapsed
