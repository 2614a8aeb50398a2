"""So many bytes a second."""

from __future__ import annotations

import pytest

from nearframe.importer.pace import Pace


def test_senders_share_the_rate() -> None:
    now = 100.0
    waited: list[float] = []
    pace = Pace(1000, waited.append, lambda: now)
    for _ in range(3):
        pace.spend(500)
    assert waited == [0.5, 1.0], "the first goes at once"
    now = 101.4
    pace.spend(500)
    assert waited[2:] == [pytest.approx(0.1)]
    now = 200.0
    pace.spend(500)
    assert len(waited) == 3, "what was not used is not saved up"


def test_without_a_rate_nobody_waits() -> None:
    Pace(None, lambda _: 1 / 0).spend(10**12)
