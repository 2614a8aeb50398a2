"""How fast the line is and how long its round trip, measured as transfers pass.

Pure: times are arguments. Both estimates are robust rather than quick. The rate counts only
time in which bytes were coming, so a line that idles, or waits for answers, is not taken for
a slow one; the round trip is the shortest of those that met no queue of ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

_SAMPLE_S: Final = 0.05  # busy time behind one sample: long enough that a burst out of a buffer does not make one
_SAMPLES_KEPT: Final = 16
#: Of the samples kept, the one that three quarters stay below: an upstream that dawdles makes low ones,
#: nothing makes many high ones.
_QUANTILE: Final = 0.75
_DELIVERIES_KEPT: Final = 32
_DELIVERY_QUANTILE: Final = 0.9  # most are low: whatever was asked for was less than the line could carry
_ROUND_TRIPS_KEPT: Final = 8


@dataclass(frozen=True, slots=True)
class Mark:
    """When a transfer was asked for, and what had passed by then."""

    at: float
    passed_bytes: int


class RateMeter:
    """Bytes a second of one direction, while bytes flow.

    Two looks at the same thing, of which the higher holds, since both may be too low and
    hardly too high:

    - A flow lasts from the first bytes of a transfer to its last. What arrives while any flow
      lasts took the time since the bytes before it; what opens the first flow took a time that
      nobody knows and is not counted.
    - From the asking for a transfer to its end so many bytes passed, of it and of others. On a
      quick line this is all there is to see: a chunk comes in one read. What it finds lets
      more be asked for at a time, and so it finds more, up to what the line carries.
    """

    def __init__(self) -> None:
        self._flows = 0
        self._last = 0.0
        self._busy_s = 0.0
        self._busy_bytes = 0
        self._passed_bytes = 0
        self._samples: deque[float] = deque(maxlen=_SAMPLES_KEPT)
        self._deliveries: deque[float] = deque(maxlen=_DELIVERIES_KEPT)
        #: The estimate, or None before the first. Kept: it is asked for with every chunk.
        self.bytes_s: float | None = None

    def asked(self, now: float) -> Mark:
        """Say that a transfer is asked for."""
        return Mark(now, self._passed_bytes)

    def flow_began(self, now: float, size_bytes: int) -> None:
        """Say that the first bytes of a transfer passed."""
        self._flows += 1
        if self._flows == 1:
            self._last = now
            self._passed_bytes += size_bytes
        else:
            self.moved(now, size_bytes)

    def moved(self, now: float, size_bytes: int) -> None:
        """Say that more bytes of some flow passed."""
        self._busy_s += now - self._last
        self._last = now
        self._busy_bytes += size_bytes
        self._passed_bytes += size_bytes
        if self._busy_s >= _SAMPLE_S:
            self._samples.append(self._busy_bytes / self._busy_s)
            self._busy_s, self._busy_bytes = 0.0, 0
            self._look()

    def flow_ended(self, now: float, mark: Mark) -> None:
        """Say that a flow is over."""
        self._flows -= 1
        if now > mark.at:
            self._deliveries.append((self._passed_bytes - mark.passed_bytes) / (now - mark.at))
            self._look()

    def _look(self) -> None:
        looks = (_quantile(self._samples, _QUANTILE), _quantile(self._deliveries, _DELIVERY_QUANTILE))
        self.bytes_s = max((look for look in looks if look is not None), default=None)


def _quantile(samples: Collection[float], share: float) -> float | None:
    return sorted(samples)[int(share * (len(samples) - 1))] if samples else None


class RoundTripMeter:
    """The shortest of the last few times to an answer that hardly anything of ours was before.

    What has our own bytes before it takes as long as they do, and is no distance. A few, so
    that a way that became longer is believed soon.
    """

    def __init__(self) -> None:
        self._clean: deque[float] = deque(maxlen=_ROUND_TRIPS_KEPT)

    @property
    def seconds(self) -> float | None:
        """The estimate, or None before the first."""
        return min(self._clean, default=None)

    def answered(self, took_s: float) -> None:
        """Say how long an answer took that was asked for while hardly anything else was under way."""
        self._clean.append(took_s)
