"""What somebody said there is to be: see `intake.serieswatch.Lists`."""

from __future__ import annotations

from nearframe.query import commitment, steps
from nearframe.storage.catalogue.commitments import CommitmentKey, Commitments
from nearframe.storage.catalogue.steps import Steps
from nearframe.storage.ports import OutboxEvent


class Listings:
    """Looks up what an event of the outbox speaks of. Any thread may call."""

    def __init__(self, commitments: Commitments, steps_: Steps) -> None:
        self._commitments = commitments
        self._steps = steps_

    def listed(self, event: OutboxEvent) -> frozenset[str]:
        """Return the instances that a commitment was asked for, or that a completed step lists."""
        if event.kind == commitment.EVENT:
            key = CommitmentKey(event.tenant, event.detail["requestor"], event.detail["transaction"])
            found = self._commitments.find(key)
            return frozenset() if found is None else frozenset(uid for _, uid in found.asked)
        step = self._steps.performed(event.tenant, event.detail["step"]) if event.kind == steps.EVENT else None
        return frozenset() if step is None else steps.instances_of(step)
