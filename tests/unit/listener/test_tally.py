from __future__ import annotations

import time
from dataclasses import dataclass

from nearframe.listener.tally import Tally
from nearframe.metrics import HTTP_CUT, HTTP_IN_FLIGHT, HTTP_REQUESTS, HTTP_RESPONSE_BYTES, HTTP_SECONDS, Metrics


@dataclass
class Request:
    route: str = "frames"
    status: int = 200
    complete: bool = True
    received_bytes: int = 0
    sent_bytes: int = 10
    took_s: float = 0.003

    @property
    def began_s(self) -> float:
        return time.perf_counter() - self.took_s

    @began_s.setter
    def began_s(self, value: float) -> None:
        raise NotImplementedError


def test_what_was_added_is_there_when_somebody_looks_and_only_once() -> None:
    metrics = Metrics()
    tally = Tally(metrics, in_flight=lambda: 5)
    for status in (200, 206, 404, 0):
        tally.add(Request(status=status, complete=status != 0))
    for _ in range(2):
        assert metrics.value(HTTP_REQUESTS, route="frames", status="2xx") == 2
        assert metrics.value(HTTP_REQUESTS, route="frames", status="none") == 1
        assert metrics.value(HTTP_RESPONSE_BYTES, route="frames") == 40
        assert metrics.value(HTTP_CUT, route="frames") == 1
        assert metrics.value(HTTP_SECONDS, route="frames") == 4
        assert metrics.value(HTTP_IN_FLIGHT) == 5


def test_latencies_fall_into_the_same_buckets_as_observed_ones() -> None:
    counted, observed = Metrics(), Metrics()
    tally = Tally(counted, in_flight=lambda: 0)
    for took_s in (0.0001, 0.003, 0.7, 100.0):
        tally.add(Request(took_s=took_s))
        observed.observe(HTTP_SECONDS, took_s, route="frames")

    def buckets(metrics: Metrics) -> list[str]:
        return [line for line in metrics.exposition().decode().splitlines() if "request_seconds_bucket" in line]

    assert buckets(counted) == buckets(observed)
