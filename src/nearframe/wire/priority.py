"""The ``Priority`` header (RFC 9218): how urgent a request is, in eight steps, as one of our five classes.

The field is a structured dictionary, ``u=1, i``. Viewers and proxies write it in their own
ways, and a priority is no reason to refuse a request: what cannot be read counts as absent.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from nearframe.context import Urgency

HEADER: Final = b"priority"

#: By the number after ``u=``; 3 is what RFC 9218 means where none is given.
_CLASSES: Final = (
    Urgency.STAT,
    Urgency.ACTIVE,
    Urgency.ACTIVE,
    Urgency.ROUTINE,
    Urgency.ARCHIVE,
    Urgency.ARCHIVE,
    Urgency.BULK,
    Urgency.BULK,
)
_WRITTEN: Final = {
    Urgency.STAT: b"u=0",
    Urgency.ACTIVE: b"u=1",
    Urgency.ROUTINE: b"u=3",
    Urgency.ARCHIVE: b"u=5",
    Urgency.BULK: b"u=7",
}
_MAX_BYTES: Final = 256  # of a field; an honest one has ten
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')


@lru_cache(maxsize=256)
def read_priority(value: bytes) -> Urgency:
    """Return the class that a field's value asks for; `Urgency.ROUTINE` where it says nothing that can be read.

    As in any structured dictionary the last of several ``u`` counts (RFC 8941 section 4.2.2).
    """
    found = Urgency.ROUTINE
    if len(value) > _MAX_BYTES:
        return found
    # A comma within quotes separates nothing.
    for member in _QUOTED.sub(b'""', value).split(b","):
        key, _, item = member.partition(b";")[0].partition(b"=")
        digit = item.strip()
        if key.strip() == b"u" and len(digit) == 1 and b"0" <= digit <= b"7":
            found = _CLASSES[int(digit)]
    return found


def write_priority(urgency: Urgency) -> bytes:
    """Return the value of a field that asks for a class."""
    return _WRITTEN[urgency]
