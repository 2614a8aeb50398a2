"""When a home was last read and proved, and what was lost by then: kept in it, for the next start and for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from nearframe.storage.durable import replace_durably

_FILE: Final = "scrub.json"


@dataclass(frozen=True, slots=True)
class LastScrub:
    """The last scrub.

    Attributes
    ----------
    at
        When it ended; when the store was first looked after, before there was any.
    lost
        Contents that are held and could not be read then.
    """

    at: datetime
    lost: int = 0


def remember(home: Path, last: LastScrub) -> None:
    """Keep it, durably."""
    replace_durably(home / _FILE, json.dumps({"last": last.at.isoformat(), "lost": last.lost}).encode())


def remembered(home: Path) -> LastScrub | None:
    """Return it; None if there was none, or it cannot be read."""
    try:
        kept = json.loads((home / _FILE).read_text(encoding="utf-8"))
        return LastScrub(datetime.fromisoformat(kept["last"]), int(kept.get("lost", 0)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
