"""A page of an upstream's change feed, read with suspicion."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from nearframe.errors import MalformedRequest, UpstreamError
from nearframe.query.urgency import read_given
from nearframe.storage.ports import FeedCursor, GivenUrgency
from nearframe.sync.asked import MAX_UID_CHARS
from nearframe.units import MIB
from nearframe.wire.document import load_json

#: Of a page: what a node sends at most. Each study of it is noted, and pulled.
MAX_ENTRIES: Final = 5000
#: A page, or the list of nodes: read on the event loop, so it is short. 5000 entries are 1 MB.
MAX_PAGE_BYTES: Final = 2 * MIB


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """A study that changed upstream."""

    seq: int
    study_instance_uid: str
    instances: int
    #: The class of urgency that the upstream gives it.
    given: GivenUrgency | None = None


@dataclass(frozen=True, slots=True)
class FeedAnswer:
    """Changes, in order, and the cursor after them.

    Attributes
    ----------
    leads_back
        Whether the upstream follows, itself or through others, the node that asks: then neither hears anything new.
    """

    entries: tuple[FeedEntry, ...]
    next: str
    leads_back: bool = False


def read_page(body: bytes, *, leads_back: bool = False) -> FeedAnswer:
    """Read a page; raises `UpstreamError`."""
    try:
        page = load_json(body)
        # Kept and sent back: what the upstream would not take again must not become our place in its feed.
        after = str(FeedCursor.parse(page["next"]))
        if len(page["studies"]) > MAX_ENTRIES:
            raise UpstreamError("a page of the upstream's change feed is longer than any should be")
        return FeedAnswer(tuple(_entry(entry) for entry in page["studies"]), after, leads_back)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, MalformedRequest) as error:
        raise UpstreamError("the upstream's change feed cannot be read") from error


def _entry(entry: Any) -> FeedEntry:
    uid = str(entry["study"])
    if not 0 < len(uid) <= MAX_UID_CHARS:
        raise ValueError("a study UID of the feed is no UID")
    seq = int(entry["seq"])
    if not 0 < seq < 1 << 63:
        raise ValueError("a sequence of the feed is a natural number of 63 bits")
    return FeedEntry(seq, uid, int(entry["instances"]), _given(entry.get("urgency")))


def _given(document: Any) -> GivenUrgency | None:
    """Read a class that a feed gives; one that this release cannot read is none: the study is followed all the same."""
    try:
        return read_given(document, datetime.now(UTC)) if isinstance(document, dict) else None
    except MalformedRequest:
        return None
