"""Replacement policies to compare with, small and readable: each keeps objects up to a number of bytes.

As their authors describe them: SIEVE (Zhang et al., NSDI 2024), S3-FIFO (Yang et al., SOSP
2023), W-TinyLFU (Einziger et al., ACM TOS 2017) with a window of 1 % and exact, halved counts.
`WholeStudies` is ours: `nearframe.cache.tiers` decides.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from nearframe.cache.tiers import Lifetimes, Resident, departures
from nearframe.context import Urgency

#: Study and the number of an object in it.
Key: TypeAlias = tuple[int, int]


class Policy(Protocol):
    """A cache of bounded size."""

    def get(self, key: Key, now: float, urgency: Urgency) -> bool:
        """Return whether the object is here, and count the access."""
        ...

    def put(self, key: Key, size: int, now: float, urgency: Urgency) -> None:
        """Keep an object that is not here."""
        ...


class FIFO:
    """First in, first out."""

    refreshes = False

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.held: OrderedDict[Key, int] = OrderedDict()

    def get(self, key: Key, now: float, urgency: Urgency) -> bool:
        if key not in self.held:
            return False
        if self.refreshes:
            self.held.move_to_end(key)
        return True

    def put(self, key: Key, size: int, now: float, urgency: Urgency) -> None:
        self.held[key] = size
        self.used += size
        while self.used > self.capacity:
            self.used -= self.held.popitem(last=False)[1]


class LRU(FIFO):
    """Least recently used out first."""

    refreshes = True


class SIEVE:
    """A queue, a mark on what was read, and a hand that passes from the oldest to the newest."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.held: dict[Key, int] = {}
        self.marked: set[Key] = set()
        self.queue: deque[Key] = deque()  # the oldest right; what the hand has passed goes to `passed`
        self.passed: deque[Key] = deque()

    def get(self, key: Key, now: float, urgency: Urgency) -> bool:
        if key not in self.held:
            return False
        self.marked.add(key)
        return True

    def put(self, key: Key, size: int, now: float, urgency: Urgency) -> None:
        while self.used + size > self.capacity and self.held:
            self._evict()
        self.held[key] = size
        self.used += size
        self.queue.appendleft(key)

    def _evict(self) -> None:
        while True:
            if not self.queue:  # the hand wraps round: what it passed is the queue again
                self.queue, self.passed = self.passed, deque()
            key = self.queue.pop()
            if key not in self.marked:
                self.used -= self.held.pop(key)
                return
            self.marked.discard(key)
            self.passed.appendleft(key)


class S3FIFO:
    """A small queue for what is new, a main one for what was read again, a ghost of what left the small one."""

    def __init__(self, capacity: int) -> None:
        self.small_capacity = capacity // 10
        self.capacity = capacity
        self.small: OrderedDict[Key, int] = OrderedDict()
        self.main: OrderedDict[Key, int] = OrderedDict()
        self.ghost: OrderedDict[Key, int] = OrderedDict()
        self.reads: Counter[Key] = Counter()
        self.small_used = self.main_used = self.ghost_used = 0

    def get(self, key: Key, now: float, urgency: Urgency) -> bool:
        if key not in self.small and key not in self.main:
            return False
        self.reads[key] = min(3, self.reads[key] + 1)
        return True

    def put(self, key: Key, size: int, now: float, urgency: Urgency) -> None:
        while self.small_used + self.main_used + size > self.capacity and (self.small or self.main):
            if self.small_used > self.small_capacity or not self.main:
                self._leave_small()
            else:
                self._leave_main()
        if key in self.ghost:
            self.ghost_used -= self.ghost.pop(key)
            self.main[key] = size
            self.main_used += size
        else:
            self.small[key] = size
            self.small_used += size

    def _leave_small(self) -> None:
        key, size = self.small.popitem(last=False)
        self.small_used -= size
        if self.reads.pop(key, 0) > 1:
            self.main[key] = size
            self.main_used += size
            return
        self.ghost[key] = size
        self.ghost_used += size
        while self.ghost_used > self.capacity - self.small_capacity:
            self.ghost_used -= self.ghost.popitem(last=False)[1]

    def _leave_main(self) -> None:
        key, size = self.main.popitem(last=False)
        if self.reads[key] > 0:
            self.reads[key] -= 1
            self.main[key] = size
        else:
            del self.reads[key]
            self.main_used -= size


class WTinyLFU:
    """A small window; what leaves it must have been read more often than what it would put out."""

    def __init__(self, capacity: int) -> None:
        self.window = LRU(max(1, capacity // 100))
        self.main_capacity = capacity - self.window.capacity
        self.main_used = 0
        self.probation: OrderedDict[Key, int] = OrderedDict()
        self.protected: OrderedDict[Key, int] = OrderedDict()
        self.protected_used = 0
        self.counts: Counter[Key] = Counter()
        self.counted = 0

    def get(self, key: Key, now: float, urgency: Urgency) -> bool:
        self._count(key)
        if key in self.protected:
            self.protected.move_to_end(key)
            return True
        if key in self.probation:
            size = self.probation.pop(key)
            self.protected[key] = size
            self.protected_used += size
            while self.protected_used > self.main_capacity * 4 // 5:
                demoted, demoted_size = self.protected.popitem(last=False)
                self.protected_used -= demoted_size
                self.probation[demoted] = demoted_size
            return True
        return self.window.get(key, now, urgency)

    def put(self, key: Key, size: int, now: float, urgency: Urgency) -> None:
        self._count(key)
        window = self.window
        window.held[key] = size
        window.used += size
        while window.used > window.capacity:
            candidate, candidate_size = window.held.popitem(last=False)
            window.used -= candidate_size
            self._admit(candidate, candidate_size)

    def _admit(self, key: Key, size: int) -> None:
        while self.main_used + size > self.main_capacity:
            queue = self.probation or self.protected
            if not queue:
                return
            victim = next(iter(queue))
            if self.counts[key] <= self.counts[victim]:
                return
            victim_size = queue.pop(victim)
            self.main_used -= victim_size
            if queue is self.protected:
                self.protected_used -= victim_size
        self.probation[key] = size
        self.main_used += size

    def _count(self, key: Key) -> None:
        self.counts[key] = min(15, self.counts[key] + 1)
        self.counted += 1
        if self.counted >= 10 * max(1, len(self.counts)):
            self.counts = Counter({one: count // 2 for one, count in self.counts.items() if count > 1})
            self.counted = 0


class WholeStudies:
    """Ours: whole studies go, those past their deadline first, then those not opened for longest."""

    def __init__(self, capacity: int, lifetimes: Lifetimes | None = None) -> None:
        self.capacity = capacity
        self.used = 0
        self.lifetimes = lifetimes or Lifetimes()
        self.studies: dict[int, dict[Key, int]] = {}
        self.used_at: dict[int, float] = {}
        self.classes: dict[int, Urgency] = {}

    def get(self, key: Key, now: float, urgency: Urgency) -> bool:
        if key not in self.studies.get(key[0], ()):
            return False
        if urgency is not Urgency.BULK:
            self._used(key[0], now, urgency)
        return True

    def put(self, key: Key, size: int, now: float, urgency: Urgency) -> None:
        if urgency is Urgency.BULK:
            return
        self._used(key[0], now, urgency)
        self.studies.setdefault(key[0], {})[key] = size
        self.used += size
        if self.used <= self.capacity:
            return
        residents = [
            Resident(study, self.classes[study], self.used_at[study], sum(held.values()))
            for study, held in self.studies.items()
        ]
        needed = self.used - int(self.capacity * 0.95)
        for departure in departures(residents, needed, now, self.lifetimes):
            self.used -= sum(self.studies.pop(departure.key).values())

    def _used(self, study: int, now: float, urgency: Urgency) -> None:
        self.used_at[study] = now
        # A class lasts for a study, not for the request that saw it first.
        self.classes[study] = min(urgency, self.classes.get(study, urgency))


POLICIES: Final[dict[str, Callable[[int], Policy]]] = {
    "LRU": LRU,
    "FIFO": FIFO,
    "SIEVE": SIEVE,
    "S3-FIFO": S3FIFO,
    "W-TinyLFU": WTinyLFU,
    "whole studies": WholeStudies,
}
