"""How many studies an edge has of each class: counted as they change, so that asking costs the same for any number."""

from __future__ import annotations

from nearframe.context import Urgency
from nearframe.edge.tiers import StudyTier
from nearframe.query.status import TierCounts


class Census:
    """Counts studies. Whoever uses it from several threads keeps them apart.

    Attributes
    ----------
    pinned
        Studies that may not go.
    """

    def __init__(self) -> None:
        self.pinned = 0
        self._classes: list[TierCounts] = [{"studies": 0, "held": 0, "held_bytes": 0} for _ in Urgency]
        #: What was counted of each study: its class, its bytes, and whether it may not go.
        self._counted: dict[StudyTier, tuple[Urgency, int, bool]] = {}
        self._changed: set[StudyTier] = set()

    def changed(self, tier: StudyTier) -> None:
        """Count a study anew when somebody asks: one that came, or changed."""
        self._changed.add(tier)

    def left(self, tier: StudyTier) -> None:
        """Count a study no more."""
        self._changed.discard(tier)
        self._take_back(tier)

    def classes(self) -> dict[str, TierCounts]:
        """Return the counts, by the name of the class."""
        changed, self._changed = self._changed, set()
        for tier in changed:
            self._take_back(tier)
            self._counted[tier] = counted = (tier.urgency, tier.held_bytes, tier.is_held)
            self._add(*counted, 1)
        return {urgency.name.lower(): self._classes[urgency].copy() for urgency in Urgency}

    def _take_back(self, tier: StudyTier) -> None:
        counted = self._counted.pop(tier, None)
        if counted is not None:
            self._add(*counted, -1)

    def _add(self, urgency: Urgency, held_bytes: int, is_held: bool, sign: int) -> None:
        counts = self._classes[urgency]
        counts["studies"] += sign
        counts["held"] += sign * (held_bytes > 0)
        counts["held_bytes"] += sign * held_bytes
        self.pinned += sign * is_held
