"""Several writers at once, as several processes are: who follows the feed misses nothing, and nobody waits for good."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from nearframe.errors import DatabaseAway
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue, postgres
from nearframe.storage.ports import FeedCursor
from tests.unit.storage.catalogue.objects import identity, study_ref, version

Open = Callable[[], SQLCatalogue]
WRITERS, EACH, STUDIES = 4, 12, 5


class Follower:
    """Reads the feed from where it is, again and again; remembers the last sequence it saw of each study."""

    def __init__(self, catalogue: SQLCatalogue) -> None:
        self._catalogue = catalogue
        self.at = FeedCursor(catalogue.head().epoch, 0)
        self.seen: dict[str, int] = {}

    def read(self) -> None:
        for entry in self._catalogue.feed(self.at, 3):
            assert entry.seq > self.at.seq
            self.at = FeedCursor(self.at.epoch, entry.seq)
            self.seen[entry.study_instance_uid] = entry.seq


def test_a_follower_misses_nothing_of_several_writers(catalogue: SQLCatalogue, open_again: Open) -> None:
    """The cursor only moves on: an entry that came into view behind it would never be seen."""
    writers = [open_again() for _ in range(WRITERS)]
    follower = Follower(open_again())
    done = threading.Event()

    def write(number: int) -> None:
        for count in range(EACH):
            writers[number].record([version(identity(1 + count % STUDIES, 1 + number, 1 + count))])

    def follow() -> None:
        while not done.is_set():
            follower.read()

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        following = pool.submit(follow)
        for written in [pool.submit(write, number) for number in range(WRITERS)]:
            written.result()
        done.set()
        following.result()
    while follower.at != catalogue.head():
        follower.read()
    assert follower.at.seq == WRITERS * EACH  # each transaction has a sequence of its own, without a gap
    for number in range(1, STUDIES + 1):
        assert follower.seen[study_ref(number).study_instance_uid] == catalogue.state(study_ref(number))


def test_the_later_sequence_never_shows_before_the_earlier(catalogue: SQLCatalogue, open_again: Open) -> None:
    """Told as events: one writer has drawn its sequence and is not committed; another one comes."""
    drawn, go_on, second_done = threading.Event(), threading.Event(), threading.Event()
    first, second = open_again(), open_again()

    def held() -> None:
        drawn.set()
        assert go_on.wait(20)

    def follow() -> None:
        second.record([version(identity(2))])
        second_done.set()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first.record, [version(identity(1))], held)
        assert drawn.wait(20)
        other = pool.submit(follow)
        assert not second_done.wait(0.2)
        assert catalogue.feed(None, 10) == []
        go_on.set()
        one.result()
        other.result()
    uids = [entry.study_instance_uid for entry in catalogue.feed(None, 10)]
    assert uids == [study_ref(number).study_instance_uid for number in (1, 2)]


@pytest.mark.postgresql
def test_a_writer_that_stands_still_holds_nobody_up(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swapped out, or cut off, amid its transaction: the server ends it, and it says nothing was written."""
    monkeypatch.setattr(postgres, "_STALLED_S", 1)
    stalled, other = open_catalogue(postgres_url), open_catalogue(postgres_url)
    stands, wakes = threading.Event(), threading.Event()

    def stand_still() -> None:
        stands.set()
        assert wakes.wait(20)

    try:
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(stalled.record, [version(identity(1))], stand_still)
            assert stands.wait(20)
            other.record([version(identity(2))])  # waits until the server has had enough
            wakes.set()
            with pytest.raises(DatabaseAway):
                writing.result()
        assert [entry.seq for entry in other.feed(None, 10)] == [1]
        stalled.record([version(identity(1))])  # on a new connection
        assert other.head().seq == 2
    finally:
        stalled.close()
        other.close()
