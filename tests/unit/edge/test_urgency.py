"""The gate of an edge: which requests are for a study, which read it, and what they found missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import Scope

from nearframe.context import Context, Urgency, local_admin
from nearframe.edge import cachestatus
from nearframe.edge.cachestatus import Notes
from nearframe.edge.keeper import Keeper
from nearframe.edge.routes import RequestFacts, RouteTable
from nearframe.edge.tiers import Departed
from nearframe.edge.urgency import UrgencyGate
from nearframe.metrics import EDGE_MISSES, Metrics

BELOW = "/dicomweb/studies/1.2"


class FakeKeeper:
    """Every study is active; notes what it is asked."""

    def __init__(self, *rules: dict[str, object]) -> None:
        self.table = RouteTable.parse(rules)
        self.asked_for: list[tuple[str, bool]] = []
        self.request: RequestFacts | None = None
        self.departed = Departed.NOT

    def asked(self, tenant: str, uid: str, urgency: Urgency, request: RequestFacts | None, *, is_use: bool) -> Urgency:
        self.asked_for.append((uid, is_use))
        self.request = request
        return min(urgency, Urgency.ACTIVE)

    def find(self, study: object) -> Any:
        return SimpleNamespace(departed=self.departed)


def gate_of(keeper: FakeKeeper, metrics: Metrics | None = None) -> UrgencyGate:
    def gate(scope: Scope) -> Context:
        return local_admin("main", Urgency.ROUTINE)

    return UrgencyGate(gate, cast("Keeper", keeper), metrics or Metrics())


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (f"{BELOW}/series/1.3/instances/1.4/frames/1", ("1.2", True)),
        (f"{BELOW}/metadata", ("1.2", True)),
        (BELOW, ("1.2", True)),
        (f"{BELOW}/series", ("1.2", False)),
        (f"{BELOW}/instances", ("1.2", False)),
        ("/api/studies/1.2/contents/00ff", ("1.2", True)),
        ("/api/studies/1.2/sync", ("1.2", True)),
        ("/api/studies/1.2/manifest", ("1.2", False)),
        ("/dicomweb/studies", None),
        ("/api/status", None),
    ],
)
def test_what_reads_a_study(path: str, asked: tuple[str, bool] | None) -> None:
    keeper = FakeKeeper()
    context = gate_of(keeper)({"path": path})
    assert keeper.asked_for == ([] if asked is None else [asked])
    assert context.urgency is (Urgency.ROUTINE if asked is None else Urgency.ACTIVE)


def test_a_context_is_made_once_and_rules_see_the_request() -> None:
    keeper = FakeKeeper({"class": "bulk", "peer": "10.0.0.0/8"})
    gate = gate_of(keeper)
    scope = {"path": BELOW, "client": ("10.0.0.1", 1234)}
    assert gate(scope) is gate(scope)
    assert keeper.request == RequestFacts("10.0.0.1", BELOW)
    gate({"path": BELOW, "client": None})
    assert keeper.request == RequestFacts("", BELOW)


@pytest.mark.parametrize(
    ("urgency", "departed", "reason"),
    [
        (Urgency.ROUTINE, Departed.NOT, "cold"),
        (Urgency.STAT, Departed.EVICTED, "evicted"),
        (Urgency.ACTIVE, Departed.EXPIRED, "expired"),
        (Urgency.ARCHIVE, Departed.PURGED, "purged"),
        (Urgency.BULK, Departed.EVICTED, "bypass"),
    ],
)
def test_misses_are_counted_with_their_reason(urgency: Urgency, departed: Departed, reason: str) -> None:
    keeper, metrics = FakeKeeper(), Metrics()
    keeper.departed = departed
    gate = gate_of(keeper, metrics)
    gate.fetched(Notes(fetched=3, urgency=urgency, study=("main", "1.2")))
    gate.fetched(Notes(fetched=0, urgency=urgency, study=("main", "1.2")))
    gate.fetched(Notes(fetched=1))
    assert metrics.value(EDGE_MISSES, urgency=urgency.name.lower(), reason=reason) == 3
    assert metrics.value(EDGE_MISSES) == 3


def test_what_was_decided_is_noted_for_the_answer() -> None:
    cachestatus.notes.set(Notes())
    gate_of(FakeKeeper())({"path": BELOW})
    noted = cachestatus.notes.get()
    assert noted is not None
    assert (noted.urgency, noted.study) == (Urgency.ACTIVE, ("main", "1.2"))
    cachestatus.notes.set(None)
