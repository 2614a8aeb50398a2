"""What a node says of itself at ``GET /api/status``: the one shape that pages, commands and the demonstration read.

The origin fills `counts`, `feed`, `store` and `background`; an edge fills the same about
itself, and `upstream`, `moved` and `outbox` besides.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NotRequired, TypedDict

from nearframe import __version__
from nearframe.storage.ports import Catalogue
from nearframe.storage.upkeep import PackStats


class Counts(TypedDict):
    """Current studies, series and instances, open conflicts."""

    studies: int
    series: int
    instances: int
    conflicts: int


class Feed(TypedDict):
    """The end of this node's own feed, as ``epoch:seq``."""

    head: str


class Store(TypedDict):
    """The sealed store.

    `reused_bytes`: bytes that were offered again and not written, since the tenant held them.
    """

    contents: int
    segments: int
    stored_bytes: int
    dead_bytes: int
    reused_bytes: int
    free_bytes: int


class Job(TypedDict):
    """A background consumer: events it has not seen, and how much it did and could not do."""

    lag: int
    done: int
    failed: int


class Duty(TypedDict):
    """Work that one process of an archive does: which one, whether it is this, and until when if it says no more."""

    holder: str | None
    here: bool
    since: str
    expires_in_s: float


class RankedUpstream(TypedDict):
    """One of the nodes that an edge may follow; `in_use_s`: for how long it has been in use."""

    rank: int
    url: str
    healthy: bool
    in_use: bool
    in_use_s: float | None
    last_contact_s: float | None
    last_error: str


class Upstream(TypedDict):
    """The nodes that an edge may follow, and how it follows the one in use.

    `kind` as in the setting ``upstream_kind``, or ``dicom``: any archive has no feed, and so no `cursor` and `lag`.
    `problem` says what is wrong with one that answers, and what to do; empty if nothing is.
    `cursor` is the place in the upstream's feed up to which this edge is complete, written
    as the upstream writes its head; `lag` counts the studies known to have changed beyond it.
    `last_contact_s`: seconds since the upstream last answered, or None before it ever did.
    """

    kind: str
    reachable: bool
    problem: str
    last_contact_s: float | None
    cursor: NotRequired[str]
    lag: NotRequired[int]
    ranked: NotRequired[list[RankedUpstream]]


class Moved(TypedDict):
    """What came over the line since this node started, by kind; `saved_bytes` of frames were served from here."""

    frames: int
    frame_bytes: int
    header_bytes: int
    manifest_bytes: int
    delta_bytes: int
    feed_bytes: int
    saved_bytes: int


class MovedFiles(TypedDict):
    """The same before any archive: whole files, and searches and metadata as it answered them."""

    files: int
    file_bytes: int
    document_bytes: int
    saved_bytes: int


class TierCounts(TypedDict):
    """Studies of one class, those of them whose frames are here, and the bytes of these."""

    studies: int
    held: int
    held_bytes: int


class Tiers(TypedDict):
    """What an edge keeps, by class; `pinned` counts studies in open consults too."""

    budget_bytes: int
    classes: dict[str, TierCounts]
    pinned: int
    consults: int
    prefetching: int


class OutboxStatus(TypedDict):
    """What an edge has taken in: instances by how far they are on their way upstream.

    `verified` counts all that ever were. `oldest_s`: how long the oldest has waited that is not.
    """

    spooled: int
    sent: int
    verified: int
    refused: int
    oldest_s: float | None


class NodeStatus(TypedDict):
    """The whole answer."""

    role: str
    version: str
    counts: Counts
    feed: Feed
    store: Store
    background: NotRequired[dict[str, Job]]
    duties: NotRequired[dict[str, Duty]]
    upstream: NotRequired[Upstream]
    moved: NotRequired[Moved | MovedFiles]
    tiers: NotRequired[Tiers]
    outbox: NotRequired[OutboxStatus]


def node_status(role: str, home: Path, catalogue: Catalogue, stats: PackStats) -> NodeStatus:
    """Return what every role says of itself. Sync: callers bring a thread."""
    totals = catalogue.totals()
    disk = os.statvfs(home)
    return {
        "role": role,
        "version": __version__,
        "counts": {
            "studies": totals.studies,
            "series": catalogue.count_series(),
            "instances": totals.instances,
            "conflicts": catalogue.count_open_conflicts(),
        },
        "feed": {"head": str(catalogue.head())},
        "store": {
            "contents": stats.contents,
            "segments": stats.segments,
            "stored_bytes": stats.stored_bytes,
            "dead_bytes": stats.dead_bytes,
            "reused_bytes": stats.reused_bytes,
            "free_bytes": disk.f_bavail * disk.f_frsize,
        },
    }
