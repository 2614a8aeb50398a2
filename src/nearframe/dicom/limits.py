"""What an object may cost before it is refused.

Every value is checked before memory or time is spent on what it bounds. The bounds are
settings; their metadata holds unit and reason, which feed the reference documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any, Protocol

from nearframe.units import GIB, KIB, MIB


def _limit(default: float, unit: str, reason: str) -> Any:
    return field(default=default, metadata={"unit": unit, "reason": reason})


class Scratch(Protocol):
    """A file for what does not fit memory; gone once closed. Any thread may call."""

    def write(self, data: bytes | bytearray) -> None:
        """Append `data`."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes, or those there are."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds on one object.

    Attributes
    ----------
    scratch
        Opens a file for what outgrows memory; None keeps it in memory. Not a bound: it comes from the node's home.
    """

    max_instance_bytes: int = _limit(
        16 * GIB, "bytes", "the largest genuine objects, whole slide images, stay below 10 GiB"
    )
    max_header_bytes: int = _limit(
        64 * MIB, "bytes", "headers are held in memory; an enhanced object of 10 000 frames needs about 20 MiB"
    )
    max_elements: int = _limit(
        1_000_000, "elements", "the index costs about 200 bytes an element; 10 000 frames need about 500 000"
    )
    max_nesting: int = _limit(32, "sequences", "structured reports nest 10 to 20 deep")
    max_fragments: int = _limit(250_000, "fragments", "an hour of cine at 60 frames a second is 216 000")
    max_frames: int = _limit(250_000, "frames", "as max_fragments")
    max_inflated_bytes: int = _limit(GIB, "bytes", "a deflated data set is inflated to a scratch file")
    max_inflate_ratio: int = _limit(
        800, "to 1", "label maps of small lesions reach 700 to 1, measured; bombs use zlib's utmost, 1030 to 1"
    )
    max_parse_seconds: float = _limit(30.0, "seconds", "a 20 MiB header takes about 2 s")
    scratch: Callable[[], Scratch] | None = field(default=None, compare=False)


def bounds() -> list[Field[Any]]:
    """Return the fields of `Limits` that are settings."""
    return [one for one in fields(Limits) if one.metadata]


#: Below this an inflated data set is never suspicious, whatever its ratio.
FREE_INFLATED_BYTES = 32 * MIB

#: Values from this size on are cut out of the header and stored as bulk pieces. A constant, not
#: a setting: every node must cut alike, for the header digest depends on it.
BULK_MIN_BYTES = 64 * KIB

#: A value of a VR that holds no bulk data (text, dates, numbers as text) is cut from this size on.
BULK_ANY_VR_MIN_BYTES = MIB

#: Binary values up to this size stand in the metadata itself, so that palettes and overlays
#: need no further request before the first picture.
INLINE_MAX_BYTES = 32 * KIB
