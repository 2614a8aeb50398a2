"""Counting requests cheaply: plain numbers while they run, metrics when somebody looks.

Six operations on the metrics library take 6 µs, as long as a frame takes to find. A
listener's requests end on one event loop, so plain additions do.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from nearframe.metrics import (
    HTTP_CUT,
    HTTP_IN_FLIGHT,
    HTTP_REQUEST_BYTES,
    HTTP_REQUESTS,
    HTTP_RESPONSE_BYTES,
    HTTP_SECONDS,
    LATENCY_BUCKETS,
    Metrics,
)


class Ended(Protocol):
    """What is counted of a request once it has ended.

    Attributes
    ----------
    began_s
        By `time.perf_counter`.
    status
        0 if nothing was answered.
    complete
        False if the answer was cut.
    """

    began_s: float
    status: int
    complete: bool
    received_bytes: int
    sent_bytes: int

    @property
    def route(self) -> str: ...


@dataclass(slots=True)
class _Route:
    """Since somebody looked last. `buckets`: requests by latency, the last one beyond every bound."""

    statuses: Counter[int] = field(default_factory=Counter)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS) + 1))
    seconds: float = 0.0
    received_bytes: int = 0
    sent_bytes: int = 0
    cut: int = 0


class Tally:
    """Counts the requests of one listener."""

    def __init__(self, metrics: Metrics, in_flight: Callable[[], int]) -> None:
        self._metrics = metrics
        self._in_flight = in_flight
        self._routes: dict[str, _Route] = {}
        metrics.before_reading(self._hand_over)

    def add(self, request: Ended) -> None:
        """Count a request that has ended."""
        name = request.route
        route = self._routes.get(name)
        if route is None:
            route = self._routes[name] = _Route()
        seconds = time.perf_counter() - request.began_s
        route.statuses[request.status // 100] += 1
        route.buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        route.seconds += seconds
        route.received_bytes += request.received_bytes
        route.sent_bytes += request.sent_bytes
        if not request.complete:
            route.cut += 1

    def _hand_over(self) -> None:
        metrics = self._metrics
        metrics.set(HTTP_IN_FLIGHT, self._in_flight())
        routes, self._routes = self._routes, {}
        for name, route in routes.items():
            for status, count in route.statuses.items():
                metrics.add(HTTP_REQUESTS, count, route=name, status=f"{status}xx" if status else "none")
            metrics.observe_many(HTTP_SECONDS, route.buckets, route.seconds, route=name)
            metrics.add(HTTP_RESPONSE_BYTES, route.sent_bytes, route=name)
            metrics.add(HTTP_REQUEST_BYTES, route.received_bytes, route=name)
            metrics.add(HTTP_CUT, route.cut, route=name)
