"""What an edge says of its line and its outbox: how they stand, and what came over."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from nearframe.context import Urgency
from nearframe.edge.follow import Follower
from nearframe.edge.outbox import Outbox, State
from nearframe.edge.upstream import Upstreams
from nearframe.metrics import (
    EDGE_READ_BYTES,
    OUTBOX_INSTANCES,
    OUTBOX_OLDEST_SECONDS,
    UPSTREAM_BYTES,
    UPSTREAM_ITEMS,
    Metrics,
)
from nearframe.query import status
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef


class Standing:
    """Looks when somebody asks, and before metrics are shown."""

    def __init__(
        self,
        upstreams: Upstreams,
        follower: Follower,
        outbox: Outbox,
        workers: Workers,
        metrics: Metrics,
        urgency_of: Callable[[StudyRef], Urgency],
    ) -> None:
        self._upstreams = upstreams
        self._follower = follower
        self._outbox = outbox
        self._workers = workers
        self._metrics = metrics
        self._urgency_of = urgency_of
        metrics.before_exposition(self._measure_outbox)

    def upstream(self) -> status.Upstream:
        """Return how the line stands."""
        return {
            "kind": "nearframe",
            "reachable": self._upstreams.is_reachable,
            "problem": self._follower.problem,
            "last_contact_s": self._upstreams.last_contact_s,
            "cursor": self._follower.cursor,
            "lag": self._follower.lag,
            "ranked": [
                {
                    "rank": one.rank,
                    "url": one.shown_url,
                    "healthy": one.is_reachable,
                    "in_use": one is self._upstreams.current,
                    "in_use_s": self._upstreams.in_use_s if one is self._upstreams.current else None,
                    "last_contact_s": one.last_contact_s,
                    "last_error": one.last_error,
                }
                for one in self._upstreams.ranked
            ],
        }

    def moved(self) -> status.Moved:
        """Return what came over the line since the start."""
        value = self._metrics.value
        return {
            "frames": int(value(UPSTREAM_ITEMS, kind="frame")),
            "frame_bytes": int(value(UPSTREAM_BYTES, kind="frame")),
            "header_bytes": int(value(UPSTREAM_BYTES, kind="header")),
            "manifest_bytes": int(value(UPSTREAM_BYTES, kind="manifest")),
            "delta_bytes": int(value(UPSTREAM_BYTES, kind="delta")),
            "feed_bytes": int(value(UPSTREAM_BYTES, kind="feed")),
            "saved_bytes": int(value(EDGE_READ_BYTES, how="held")),
        }

    async def _measure_outbox(self) -> None:
        instances = Counter[tuple[State, Urgency]]()
        oldest_s: dict[Urgency, float] = defaultdict(float)
        for line in await self._workers.run(self._outbox.stock):
            urgency = self._urgency_of(line.study)
            instances[line.state, urgency] += line.instances
            if line.state is not State.VERIFIED:
                oldest_s[urgency] = max(oldest_s[urgency], line.oldest_s)
        for urgency in Urgency:
            name = urgency.name.lower()
            for state in State:
                self._metrics.set(OUTBOX_INSTANCES, instances[state, urgency], state=state.value, urgency=name)
            self._metrics.set(OUTBOX_OLDEST_SECONDS, oldest_s[urgency], urgency=name)
