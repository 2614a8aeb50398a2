"""Which studies are being taken in right now: contents of those must not be let go meanwhile.

An object that is sent again finds its contents held and appends nothing. If they were let go
between that look and its being recorded, there would be a version without its bytes.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from nearframe.errors import Busy
from nearframe.storage.ports import StudyRef


class StudiesInUse:
    """Shared by those who take in, one at a time for whoever lets go. Any thread may call."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users: Counter[StudyRef] = Counter()
        self._alone: set[StudyRef] = set()

    def __contains__(self, study: object) -> bool:
        """Return whether something of a study is being taken in."""
        return study in self._users

    def begin(self, study: StudyRef) -> None:
        """Say that an object of a study is being taken in; waits while contents are let go."""
        with self._changed:
            self._changed.wait_for(lambda: study not in self._alone)
            self._users[study] += 1

    def end(self, study: StudyRef) -> None:
        """Say that it is recorded, or given up."""
        with self._changed:
            self._users[study] -= 1
            self._users += Counter()  # drops what reached zero

    @contextmanager
    def alone(self, study: StudyRef) -> Iterator[None]:
        """Have nothing of a study taken in while contents are let go. Be brief: senders wait.

        Raises
        ------
        Busy
            If something of it is being taken in: try another time.
        """
        with self._changed:
            if self._users[study] or study in self._alone:
                raise Busy("objects of the study are being taken in")
            self._alone.add(study)
        try:
            yield
        finally:
            with self._changed:
                self._alone.discard(study)
                self._changed.notify_all()
