"""How far this edge has followed its upstreams, kept in a file.

Written after what it stands for is durable, so that a crash repeats a little and misses
nothing. It names the epoch of this edge's own catalogue: after that was restored from a
backup, or lost, a cursor means nothing and everything is followed again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nearframe.errors import BackendFailed
from nearframe.storage.durable import replace_durably
from nearframe.storage.ports import FeedCursor

_FILE_NAME: Final = "upstream.json"
#: Beyond this, everything is compared: by then that costs little more, and the file stays small.
MAX_TO_COMPARE: Final = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """How far one upstream was followed.

    Attributes
    ----------
    cursor
        As the upstream writes it; None before its first page.
    to_compare
        Studies taken over from another upstream since: how they stand here is not what this one showed.
    is_anew
        Its feed began a new epoch, and not everything here was compared with it since.
    """

    cursor: str | None = None
    to_compare: frozenset[str] = frozenset()
    is_anew: bool = False

    def but_for(self, study_instance_uid: str) -> Place:
        """Return this place after a study was taken over from another upstream."""
        studies = self.to_compare | {study_instance_uid}
        cursor = None if len(studies) > MAX_TO_COMPARE else self.cursor
        return Place(cursor, frozenset() if cursor is None else studies, self.is_anew)


class CursorFile:
    """Keeps a `Place` for each upstream, by URL, in a folder, durably."""

    def __init__(self, home: Path) -> None:
        self._path = home / _FILE_NAME
        # A save whose caller was cancelled may still be running when the next one begins.
        self._saving = threading.Lock()

    def load(self, local_epoch: str) -> dict[str, Place]:
        """Return the places that still mean something."""
        try:
            kept = json.loads(self._path.read_bytes())
            if kept["local_epoch"] != local_epoch:
                return {}
            return {str(url): _place(written) for url, written in kept["upstreams"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def save(self, local_epoch: str, places: Mapping[str, Place]) -> None:
        """Replace what is kept; durable on return.

        Raises
        ------
        BackendFailed
            If the file cannot be written; what was kept stays.
        """
        upstreams = {
            url: {"cursor": place.cursor, "compare": sorted(place.to_compare), "anew": place.is_anew}
            for url, place in places.items()
        }
        document = {"local_epoch": local_epoch, "upstreams": upstreams}
        try:
            with self._saving:
                replace_durably(self._path, json.dumps(document).encode())
        except OSError as error:
            raise BackendFailed(f"the feed cursor cannot be written: {error.strerror}") from error


def _place(written: Mapping[str, Any]) -> Place:
    """Read a place; one that no upstream would take is none."""
    is_anew = written.get("anew") is True
    try:
        return Place(str(FeedCursor.parse(written["cursor"])), frozenset(map(str, written["compare"])), is_anew)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Place(is_anew=is_anew)
