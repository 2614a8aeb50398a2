"""Group commit: who shares with whom, and that nobody returns early."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from nearframe.storage.packs.groupcommit import GroupCommit

TIMEOUT_S = 20


class Disk:
    """Counts commits; the first waits until it is let go."""

    def __init__(self) -> None:
        self.written = 0
        self.commits: list[int] = []
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def commit(self) -> int:
        sequence = self.written
        self.begun.set()
        assert self.let_go.wait(TIMEOUT_S)
        self.commits.append(sequence)
        return sequence


def test_what_is_settled_costs_nothing() -> None:
    disk = Disk()
    disk.let_go.set()
    group = GroupCommit(disk.commit)
    group.settle(0)
    disk.written = 3
    group.settle(3)
    group.settle(2)
    assert disk.commits == [3]


def test_those_who_come_during_a_commit_share_the_next() -> None:
    disk = Disk()
    group = GroupCommit(disk.commit)
    with ThreadPoolExecutor(10) as senders:
        disk.written = 1
        first = senders.submit(group.settle, 1)
        assert disk.begun.wait(TIMEOUT_S)
        disk.written = 9
        rest = [senders.submit(group.settle, number) for number in range(2, 10)]
        assert not any(future.done() for future in [first, *rest])
        disk.let_go.set()
        for future in [first, *rest]:
            future.result(TIMEOUT_S)
    assert disk.commits == [1, 9]


def test_a_commit_that_breaks_lets_the_next_one_lead() -> None:
    outcomes = iter([OSError(), None])

    def commit() -> int:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        return 1

    group = GroupCommit(commit)
    with pytest.raises(OSError):
        group.settle(1)
    group.settle(1)
