"""File names by number: of a study, a series in it, an instance in that.

Numbers follow the order in which things first come, and stay when an export is continued.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final, NamedTuple

_MEDIA_ROOT: Final = "DICOM"
_MEDIA_PREFIXES: Final = ("PA", "ST", "SE", "IM")


class Numbers(NamedTuple):
    """Where an instance stands, each from one."""

    patient: int
    study: int
    series: int
    instance: int


class Numbering:
    """Gives numbers, the same to what had one."""

    def __init__(self) -> None:
        self._children: defaultdict[tuple[str, ...], dict[str, int]] = defaultdict(dict)

    def of(self, patient: str, study: str, series: str, instance: str) -> Numbers:
        """Return the numbers of an instance, by what tells each level from others beside it.

        For `plain_name` all patients are one, so that studies are numbered through.
        """
        path = (patient, study, series, instance)
        return Numbers(*(self._number(path[:level], path[level]) for level in range(len(path))))

    def _number(self, parent: tuple[str, ...], child: str) -> int:
        known = self._children[parent]
        return known.setdefault(child, len(known) + 1)


def plain_name(numbers: Numbers) -> str:
    """Return where a file goes in a folder or a zip file."""
    return f"study-{numbers.study:05}/series-{numbers.series:03}/{numbers.instance:05}.dcm"


def media_name(numbers: Numbers) -> str:
    """Return a file ID of eight characters a component, as old readers want it (PS3.10 section 8.2)."""
    numbered = (f"{prefix}{number:06}" for prefix, number in zip(_MEDIA_PREFIXES, numbers, strict=True))
    return "/".join((_MEDIA_ROOT, *numbered))
