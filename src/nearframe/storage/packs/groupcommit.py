"""Group commit: callers that want what they wrote to be durable share one fdatasync."""

from __future__ import annotations

import threading
from collections.abc import Callable


class GroupCommit:
    """Whoever comes first commits for all who wrote before; the others wait for it.

    Parameters
    ----------
    commit
        Settles everything written so far and returns up to which sequence number that is.
        Called by one thread at a time, without a lock held.
    """

    def __init__(self, commit: Callable[[], int]) -> None:
        self._commit = commit
        self._settled = 0
        self._committing = False
        self._changed = threading.Condition()

    def settle(self, sequence: int) -> None:
        """Return once everything up to `sequence` is settled."""
        while True:
            with self._changed:
                while self._committing and self._settled < sequence:
                    # The commit now running may have begun before our last write: then one more follows.
                    self._changed.wait()
                if self._settled >= sequence:
                    return
                self._committing = True
            self._lead()

    def _lead(self) -> None:
        settled = 0
        try:
            settled = self._commit()
        finally:
            with self._changed:
                self._committing = False
                self._settled = max(self._settled, settled)
                self._changed.notify_all()
