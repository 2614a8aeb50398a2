"""When a series is complete: decided from what is told, and only at last from silence. Pure; the caller has the clock.

::

    Modality Performed Procedure Step completed   every instance it lists is held            final
    storage commitment                            every instance asked for is held,
                                                  and every one that came was asked for      final
    expected count                                as many as announced, without a gap        final
    association released                          nobody else sends slices of it             provisional
    idle                                          nothing for 0.5 to 3 s, by the pace so far provisional

A slice that comes later opens the series again, and whatever had ended it too early is not
believed a second time for this series: some scanners have an association, or a commitment, for
each image. A provisional end may be followed by a final one of the same take.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Final, NamedTuple

from nearframe.dicom.place import Place

LEAST_IDLE_S: Final = 0.5
LONGEST_IDLE_S: Final = 3.0
#: Of the pace: as RFC 6298 does it for round trips.
_MEAN_SHARE: Final = 1 / 8
_DEVIATION_SHARE: Final = 1 / 4
_DEVIATIONS: Final = 4
#: Spacings of one stack differ by rounding; a missing slice doubles one.
_SPACING_TOLERANCE: Final = 0.5
#: Ended series are remembered for late slices; beyond so many the oldest are forgotten.
_MOST_SERIES: Final = 4096
_MOST_LISTS: Final = 1024


class Reason(Enum):
    """What ended a series."""

    STEP = "procedure_step"
    COMMITMENT = "commitment"
    COUNT = "count"
    RELEASE = "release"
    IDLE = "idle"

    @property
    def is_final(self) -> bool:
        """True if no more is to come, as far as anybody can know."""
        return self not in (Reason.RELEASE, Reason.IDLE)


class SeriesKey(NamedTuple):
    """A series of a tenant."""

    tenant: str
    study: str
    series: str


@dataclass(frozen=True, slots=True)
class SeriesEnd:
    """A series ended.

    Attributes
    ----------
    instances
        How many came since this series is watched.
    take
        Counts the times it was opened: 1, and one more for each late slice that opened it again.
    through
        The last event that was considered.
    """

    key: SeriesKey
    reason: Reason
    instances: int
    take: int
    through: int


@dataclass(slots=True)
class _Pace:
    """How far apart slices come."""

    mean_s: float | None = None
    deviation_s: float = 0.0

    def add(self, gap_s: float) -> None:
        gap_s = min(gap_s, LONGEST_IDLE_S)
        if self.mean_s is None:
            self.mean_s, self.deviation_s = gap_s, gap_s / 2
            return
        self.deviation_s += _DEVIATION_SHARE * (abs(gap_s - self.mean_s) - self.deviation_s)
        self.mean_s += _MEAN_SHARE * (gap_s - self.mean_s)

    @property
    def patience_s(self) -> float:
        """How long a silence has to be to mean something."""
        if self.mean_s is None:
            return LONGEST_IDLE_S
        return min(max(self.mean_s + _DEVIATIONS * self.deviation_s, LEAST_IDLE_S), LONGEST_IDLE_S)


@dataclass(slots=True)
class _Series:
    key: SeriesKey
    first_event: int
    last_event: int
    last_s: float
    take: int = 1
    arrived: set[str] = field(default_factory=set)
    covered: set[str] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)
    heights: set[float] = field(default_factory=set)
    expected: int = 0
    pace: _Pace = field(default_factory=_Pace)
    senders: set[str] = field(default_factory=set)
    ended: Reason | None = None
    disbelieved: set[Reason] = field(default_factory=set)

    def open_again(self, event_id: int) -> None:
        if self.ended not in (None, Reason.IDLE):
            self.disbelieved.add(self.ended)
        self.ended = None
        self.take += 1
        self.first_event = event_id

    @property
    def silent_s(self) -> float:
        """When silence will have ended it."""
        return self.last_s + self.pace.patience_s

    def is_counted(self) -> bool:
        """True if as many are here as were announced, and none is missing between them."""
        if not 0 < self.expected <= len(self.arrived):
            return False
        if len(self.heights) == self.expected:
            return _is_even(sorted(self.heights))
        return len(self.numbers) >= self.expected and max(self.numbers) - min(self.numbers) < len(self.numbers)


@dataclass(slots=True)
class _List:
    """Instances that somebody says are all there are."""

    reason: Reason
    tenant: str
    missing: set[str]
    series: dict[SeriesKey, set[str]]


class SeriesEnds:
    """Which series are open, and what ended those that are not."""

    def __init__(self) -> None:
        self._series: dict[SeriesKey, _Series] = {}
        self._lists: list[_List] = []
        self._found: list[SeriesEnd] = []

    # -- what is told ----------------------------------------------------------------------

    def arrived(self, key: SeriesKey, instance: str, place: Place, event_id: int, now_s: float) -> None:
        """Take note of an instance that is durable."""
        series = self._series.get(key) or self._begin(key, event_id, now_s)
        if instance in series.arrived:
            self.repeated(key, now_s)
        else:
            self._add(series, instance, place, event_id, now_s)
        series.last_event = max(series.last_event, event_id)
        self._check_lists(key, instance)
        if series.ended is None and series.is_counted():
            self._end(series, Reason.COUNT)

    def repeated(self, key: SeriesKey, now_s: float) -> None:
        """Take note that an instance came that was held already: its sender is still at it."""
        if (series := self._series.get(key)) is not None and series.ended is None:
            series.last_s = now_s

    def sending(self, key: SeriesKey, sender: str) -> None:
        """Take note of who sends instances of a series; after `arrived`."""
        if (series := self._series.get(key)) is not None:
            series.senders.add(sender)

    def left(self, sender: str, *, is_released: bool) -> None:
        """Take note that a sender is gone: in good order, or not."""
        for series in list(self._series.values()):
            if sender in series.senders:
                series.senders.discard(sender)
                if is_released and not series.senders and series.ended is None:
                    self._end(series, Reason.RELEASE)

    def listed(
        self,
        reason: Reason,
        tenant: str,
        instances: Iterable[str],
        held: Mapping[str, SeriesKey],
        event_id: int,
        now_s: float,
    ) -> None:
        """Take note of what somebody says is everything.

        Parameters
        ----------
        held
            Of those, the ones that are durable here, with their series.
        """
        new = _List(reason, tenant, set(instances) - held.keys(), {})
        for instance, key in held.items():
            new.series.setdefault(key, set()).add(instance)
            if key not in self._series:
                self._begin(key, event_id, now_s)
            self._series[key].covered.add(instance)
        if new.missing:
            self._lists = [*self._lists[1 - _MOST_LISTS :], new]
        else:
            self._fulfil(new)

    def recorded(self, end: SeriesEnd) -> None:
        """Take note of an end that was made known before this process began."""
        series = self._series.get(end.key)
        if series is None or end.take < series.take:
            return
        if end.through >= series.last_event:
            series.take, series.ended = end.take, end.reason
        elif series.ended is None:
            series.take = end.take + 1

    # -- what follows ----------------------------------------------------------------------

    def due(self, now_s: float) -> list[SeriesEnd]:
        """Return the series that have ended by now and were not returned before."""
        for series in list(self._open()):
            if now_s >= series.silent_s:
                self._end(series, Reason.IDLE)
        found, self._found = self._found, []
        return found

    def next_s(self) -> float | None:
        """Return when silence will have ended a series; None while none is open."""
        return min((series.silent_s for series in self._open()), default=None)

    def oldest_event(self) -> int | None:
        """Return the first event that an open series needs again if this process ends now."""
        return min((series.first_event for series in self._open()), default=None)

    # -- within ----------------------------------------------------------------------------

    def _open(self) -> Iterator[_Series]:
        return (series for series in self._series.values() if series.ended is None)

    def _begin(self, key: SeriesKey, event_id: int, now_s: float) -> _Series:
        if len(self._series) >= _MOST_SERIES:
            oldest = next((s for s in self._series.values() if s.ended is not None), None)
            if oldest is None:
                oldest = next(iter(self._series.values()))
                self._end(oldest, Reason.IDLE)
            del self._series[oldest.key]
        self._series[key] = _Series(key, event_id, event_id, now_s)
        return self._series[key]

    def _add(self, series: _Series, instance: str, place: Place, event_id: int, now_s: float) -> None:
        if series.arrived:
            series.pace.add(now_s - series.last_s)
        # What a list named that ended the series was held when it did: only its event comes after it.
        if series.ended is not None and instance not in series.covered:
            series.open_again(event_id)
        series.arrived.add(instance)
        series.last_s = now_s
        series.expected = max(series.expected, place.expected or 0)
        if place.number is not None:
            series.numbers.add(place.number)
        if place.height_mm is not None:
            series.heights.add(place.height_mm)

    def _check_lists(self, key: SeriesKey, instance: str) -> None:
        waiting: list[_List] = []
        for one in self._lists:
            if one.tenant == key.tenant and instance in one.missing:
                one.missing.discard(instance)
                one.series.setdefault(key, set()).add(instance)
                self._series[key].covered.add(instance)
            if one.missing:
                waiting.append(one)
            else:
                self._fulfil(one)
        self._lists = waiting

    def _fulfil(self, one: _List) -> None:
        for key, instances in one.series.items():
            series = self._series.get(key)
            if series is None:
                continue
            series.covered |= instances
            if one.reason is Reason.STEP or series.arrived <= series.covered:
                series.arrived |= instances
                self._end(series, one.reason)

    def _end(self, series: _Series, reason: Reason) -> None:
        if reason in series.disbelieved or (series.ended is not None and not _confirms(series.ended, reason)):
            return
        series.ended = reason
        # The last to end is the last to be forgotten.
        self._series[series.key] = self._series.pop(series.key)
        self._found.append(SeriesEnd(series.key, reason, len(series.arrived), series.take, series.last_event))


def _confirms(before: Reason, after: Reason) -> bool:
    return after.is_final and not before.is_final


def _is_even(heights: list[float]) -> bool:
    gaps = [after - before for before, after in pairwise(heights)]
    return not gaps or max(gaps) <= min(gaps) * (1 + _SPACING_TOLERANCE)
