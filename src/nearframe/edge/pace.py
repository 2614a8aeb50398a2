"""How eagerly an edge follows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How eagerly to follow.

    Attributes
    ----------
    at_once
        Studies pulled at the same time.
    pending
        Changed studies known at a time; then the feed waits.
    quiet_s
        Least time between two pulls of a study, and `share` times what a pull took.
    settle_s
        The pause after which a correction is taken for complete, and the longest wait for one.
    poll_s
        Least time between two pages of the feed.
    wait_s
        How long the upstream may hold a request for the feed.
    retry_s
        First and longest pause before something that failed is tried again.
    """

    at_once: int = 4
    pending: int = 1000
    quiet_s: float = 0.25
    share: float = 4.0
    settle_s: tuple[float, float] = (0.5, 15.0)
    poll_s: float = 0.2
    wait_s: int = 20
    retry_s: tuple[float, float] = (0.25, 30.0)
