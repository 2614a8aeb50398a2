from __future__ import annotations

import gc
from typing import cast

from nearframe.errors import Gone
from nearframe.query.freshness import FEED_PAGE, Freshness
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, FeedCursor, FeedEntry, StudyRef

A, B = StudyRef("main", "1.2.3"), StudyRef("main", "1.2.4")


def test_a_change_breaks_the_stamp_of_its_study_only() -> None:
    freshness = Freshness()
    a, b = freshness.stamp(A), freshness.stamp(B)
    assert freshness.stamp(A) is a
    freshness.changed(A)
    assert (a.valid, b.valid) == (False, True)
    assert freshness.stamp(A).valid


def test_what_was_read_before_a_change_is_never_believed_after_it() -> None:
    freshness = Freshness()
    stamp = freshness.stamp(A)  # a reader begins
    freshness.changed(A)  # the study changes while it reads
    assert not stamp.valid, "whatever the reader keeps under its stamp is out of date"


def test_stamps_nobody_carries_are_forgotten() -> None:
    freshness = Freshness()
    for number in range(100):
        freshness.stamp(StudyRef("main", str(number)))
    gc.collect()
    assert len(freshness._stamps) == 0


class Feed:
    """The feed of a catalogue that others write to."""

    def __init__(self) -> None:
        self.epoch = "e1"
        self.entries: list[FeedEntry] = []

    def head(self) -> FeedCursor:
        return FeedCursor(self.epoch, len(self.entries))

    def feed(self, after: FeedCursor, limit: int) -> list[FeedEntry]:
        if after.epoch != self.epoch:
            raise Gone("another epoch")
        return self.entries[after.seq : after.seq + limit]

    def write(self, *studies: StudyRef) -> None:
        for study in studies:
            entry = FeedEntry(len(self.entries) + 1, study.tenant, study.study_instance_uid, instances=1)
            self.entries.append(entry)


async def test_changes_of_other_processes_arrive_by_the_feed() -> None:
    freshness, feed, workers = Freshness(), Feed(), Workers("test", 1)
    catalogue = cast("Catalogue", feed)
    feed.write(A)
    assert await freshness.follow_once(catalogue, workers) == 0
    a, b = freshness.stamp(A), freshness.stamp(B)
    assert await freshness.follow_once(catalogue, workers) == 0
    feed.write(B)
    assert await freshness.follow_once(catalogue, workers) == 1
    assert (a.valid, b.valid) == (True, False)
    feed.write(*[B] * (FEED_PAGE + 1), A)
    assert await freshness.follow_once(catalogue, workers) == FEED_PAGE + 2
    assert not a.valid
    workers.close()


async def test_a_new_epoch_breaks_everything() -> None:
    freshness, feed, workers = Freshness(), Feed(), Workers("test", 1)
    catalogue = cast("Catalogue", feed)
    await freshness.follow_once(catalogue, workers)
    stamp, before = freshness.stamp(A), freshness.generation
    feed.epoch = "e2"
    await freshness.follow_once(catalogue, workers)
    assert not stamp.valid
    assert freshness.generation > before
    workers.close()
