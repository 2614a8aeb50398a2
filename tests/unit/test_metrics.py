from __future__ import annotations

import re

import pytest

from nearframe.metrics import HTTP_IN_FLIGHT, HTTP_REQUESTS, METRICS, MetricKind, Metrics


def test_nodes_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.add(HTTP_REQUESTS, route="frames", status="2xx")
    one.add(HTTP_REQUESTS, 2, route="metadata", status="2xx")
    assert one.value(HTTP_REQUESTS) == 3
    assert one.value(HTTP_REQUESTS, route="frames") == 1
    assert other.value(HTTP_REQUESTS) == 0


def test_gauge_moves_and_is_set() -> None:
    metrics = Metrics()
    metrics.add(HTTP_IN_FLIGHT, 2)
    metrics.add(HTTP_IN_FLIGHT, -1)
    assert metrics.value(HTTP_IN_FLIGHT) == 1
    metrics.set(HTTP_IN_FLIGHT, 7)
    assert metrics.value(HTTP_IN_FLIGHT) == 7


def test_exposition_has_help_for_every_metric() -> None:
    text = Metrics().exposition().decode()
    for metric in METRICS:
        assert f"# HELP {metric.full_name} {metric.prose}" in text


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_carry_their_unit(metric) -> None:  # type: ignore[no-untyped-def]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert (metric.kind is MetricKind.COUNTER) == metric.name.endswith("_total")
    if metric.unit in ("bytes", "s"):
        word = "seconds" if metric.unit == "s" else "bytes"
        assert metric.name.removesuffix("_total").endswith(word)
    assert metric.prose.endswith(".")


def test_names_are_unique() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


async def test_what_is_measured_is_measured_for_those_who_read_it() -> None:
    metrics, asked = Metrics(), list[str]()
    metrics.before_reading(lambda: asked.append("handed over"))
    metrics.before_reading(lambda: asked.append("measured"), HTTP_IN_FLIGHT)

    async def look() -> None:
        asked.append("looked up")

    metrics.before_exposition(look)
    metrics.value(HTTP_REQUESTS)
    assert asked == ["handed over"]
    metrics.value(HTTP_IN_FLIGHT)
    assert asked == ["handed over", "handed over", "measured"]
    asked.clear()
    await metrics.shown()
    assert asked == ["looked up", "handed over", "measured"]
