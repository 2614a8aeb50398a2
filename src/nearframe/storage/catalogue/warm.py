"""Studies as the last write transaction left them, so that the next one need not load them again.

A study arrives in many transactions, one after the other. They are held for the one writer
of a process, and only believed if the head says that nobody has written since.
"""

from __future__ import annotations

from typing import Final

from nearframe.storage.catalogue.states import StudyState

MAX_SERIES: Final = 2048  # of all studies held together, at about 10 KB each

Studies = dict[tuple[str, str], StudyState]
#: Sequence and next id of the head: together they move with every change of a study.
Stamp = tuple[int, int]


class Warm:
    """The studies held. A transaction takes them out; only one that was committed puts them back."""

    def __init__(self) -> None:
        self._held: tuple[Stamp, Studies] | None = None

    def take(self, stamp: Stamp) -> Studies:
        """Return the studies that are as the transaction finds them."""
        held, self._held = self._held, None
        return held[1] if held is not None and held[0] == stamp else {}

    def put(self, stamp: Stamp, studies: Studies) -> None:
        """Keep the last of `studies`, all as they were committed with `stamp`."""
        room = MAX_SERIES
        kept: Studies = {}
        for key, study in reversed(studies.items()):
            room -= max(len(study.series), 1)
            if room < 0:
                break
            study.settle()
            kept[key] = study
        self._held = stamp, dict(reversed(kept.items()))
