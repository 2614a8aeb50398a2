"""Where a slice stands in its series: what an event of the outbox tells of it, so that nobody reads it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from nearframe.dicom.model import DICOMJSON

_INSTANCE_NUMBER: Final = "00200013"
_POSITION: Final = "00200032"
_ORIENTATION: Final = "00200037"
#: How many slices there will be: Images in Acquisition; Number of Slices of PET (PS3.3 section C.8.9.1).
_EXPECTED: Final = ("00201002", "00540081")
_DECIMALS: Final = 3  # of millimetres
_MOST_EXPECTED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """What one instance says of its series.

    Attributes
    ----------
    number
        Instance Number.
    height_mm
        Along the normal of its plane.
    expected
        How many there are to be.
    """

    number: int | None = None
    height_mm: float | None = None
    expected: int | None = None

    @classmethod
    def of(cls, metadata: DICOMJSON) -> Place:
        """Read it from an instance's attributes. What makes no sense counts as missing."""
        expected = next((found for tag in _EXPECTED if (found := _whole(metadata, tag))), None)
        is_count = expected is not None and 0 < expected <= _MOST_EXPECTED
        return cls(_whole(metadata, _INSTANCE_NUMBER), _height(metadata), expected if is_count else None)

    def as_json(self) -> dict[str, int | float]:
        """Return what is known, for the detail of an event."""
        told = (("number", self.number), ("height_mm", self.height_mm), ("expected", self.expected))
        return {name: value for name, value in told if value is not None}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Place:
        """Read what `as_json` wrote."""
        return cls(document.get("number"), document.get("height_mm"), document.get("expected"))


def _height(metadata: DICOMJSON) -> float | None:
    origin, axes = _floats(metadata, _POSITION, 3), _floats(metadata, _ORIENTATION, 6)
    if origin is None or axes is None:
        return None
    ax, ay, az, bx, by, bz = axes
    normal = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    height = sum(n * o for n, o in zip(normal, origin, strict=True))
    return round(height, _DECIMALS) if isfinite(height) else None


def _floats(metadata: DICOMJSON, tag: str, count: int) -> list[float] | None:
    values = _values(metadata, tag)
    try:
        return [float(value) for value in values] if len(values) == count else None
    except (TypeError, ValueError):
        return None


def _whole(metadata: DICOMJSON, tag: str) -> int | None:
    try:
        return int(_values(metadata, tag)[0])
    except (IndexError, TypeError, ValueError, OverflowError):
        return None


def _values(metadata: DICOMJSON, tag: str) -> list[Any]:
    element = metadata.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []
