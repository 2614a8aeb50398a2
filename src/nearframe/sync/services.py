"""The services behind the routes between nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from nearframe.intake.ingest import Ingest
from nearframe.intake.spool import Spool
from nearframe.metrics import SYNC_SENT, SYNC_SENT_BYTES, Metrics
from nearframe.query.contents import ContentReader
from nearframe.query.deltas import Deltas
from nearframe.query.feedwatch import FeedWatch
from nearframe.query.freshness import Freshness
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, ContentStore, StudyRef
from nearframe.sync.recipebook import RecipeBook
from nearframe.wire.offer import OfferedInstance

#: Kinds of what is sent: the label of both metrics.
FEED, MANIFEST, DELTA, HEADER, FRAME, RENDITIONS = "feed", "manifest", "delta", "header", "frame", "renditions"
RECIPE, HASHES = "recipe", "hashes"


def nothing_under_way() -> bool:
    """Say that no renditions are being made: an edge makes none."""
    return False


async def not_told(study: StudyRef) -> None:
    """Do nothing when a study is wanted or opened: an origin has it, and knows its own renditions."""


Archived: TypeAlias = Callable[[StudyRef, Sequence[OfferedInstance]], Awaitable[Sequence[bool]]]


async def in_this_archive(study: StudyRef, recorded: Sequence[OfferedInstance]) -> Sequence[bool]:
    """Say that what is recorded here is in the archive: here it is."""
    return [True] * len(recorded)


@dataclass(frozen=True, slots=True)
class TakesIn:
    """How a node takes in what other nodes offer."""

    ingest: Ingest
    spool: Spool
    freshness: Freshness
    max_header_bytes: int


@dataclass(frozen=True, slots=True)
class SyncServices:
    """What a node lets other nodes do.

    Attributes
    ----------
    store
        Holds every header of the node's studies, at an origin as at an edge.
    contents
        Frames and bulk data: an edge fetches what it does not hold.
    takes
        None at a node that takes nothing in.
    recipes
        None at a node that sends frames as they are.
    making
        Whether renditions of what was stored are still to be made; asks the catalogue.
    node_name
        What this node writes into ``Via``: unique, and no name of a place or person.
    archived
        Says which of some instances of a study that are recorded here are in the archive; they are in an origin.
    followed
        Whom the changes came through that this node's feed tells of; nobody, at an origin.
    wanted
        Awaited before a study is looked up: a node that keeps what was opened alone may have to get it first.
    opened
        Awaited when a client is about to be sent contents of a study.
    """

    catalogue: Catalogue
    store: ContentStore
    contents: ContentReader
    feed: FeedWatch
    manifests: Manifests
    deltas: Deltas
    workers: Workers
    metrics: Metrics
    node_name: str
    followed: Callable[[], Sequence[str]] = tuple
    wanted: Callable[[StudyRef], Awaitable[None]] = not_told
    opened: Callable[[StudyRef], Awaitable[None]] = not_told
    takes: TakesIn | None = None
    recipes: RecipeBook | None = None
    making: Callable[[], bool] = nothing_under_way
    archived: Archived = in_this_archive

    def sent(self, kind: str, items: int, size: int) -> None:
        """Count what goes out."""
        self.metrics.add(SYNC_SENT, items, kind=kind)
        self.metrics.add(SYNC_SENT_BYTES, size, kind=kind)
