"""What a search asks for: attribute tests as values, that SQL and Python evaluate alike (PS3.4 section C.2.2.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

from nearframe.storage.catalogue.text import GRAM

_ANY: Final = re.compile(r"\*+")
_LIKE_SPECIAL: Final = re.compile(r"[\\%_]")


@dataclass(frozen=True)
class Pattern:
    """Text with the wildcards ``*`` (any characters, or none) and ``?`` (any one)."""

    text: str

    @cached_property
    def segments(self) -> list[str]:
        """What stands between the stars."""
        return _ANY.split(self.text)

    @property
    def is_literal(self) -> bool:
        return "*" not in self.text and "?" not in self.text

    @property
    def prefix(self) -> str:
        """The characters every match begins with."""
        return re.split(r"[*?]", self.text, maxsplit=1)[0]

    @property
    def like(self) -> str:
        r"""The same pattern for SQL's ``LIKE … ESCAPE '\'``."""
        escaped = _LIKE_SPECIAL.sub(r"\\\g<0>", _ANY.sub("*", self.text))
        return escaped.replace("*", "%").replace("?", "_")

    @property
    def grams(self) -> list[str]:
        """Runs of `GRAM` characters that every match contains."""
        runs = re.split(r"[*?]", self.text)
        return [run[i : i + GRAM] for run in runs for i in range(len(run) - GRAM + 1)]

    def matches(self, value: str) -> bool:
        """Tell whether `value` matches, in time linear in its length for each segment."""
        first, *rest = self.segments
        if not rest:
            return _fits(first, value, 0) and len(first) == len(value)
        if not _fits(first, value, 0):
            return False
        at = len(first)
        *middle, last = rest
        for segment in middle:
            found = next((i for i in range(at, len(value) - len(segment) + 1) if _fits(segment, value, i)), None)
            if found is None:
                return False
            at = found + len(segment)
        return len(value) - len(last) >= at and _fits(last, value, len(value) - len(last))


def _fits(segment: str, value: str, at: int) -> bool:
    part = value[at : at + len(segment)]
    return len(part) == len(segment) and all(
        wanted in ("?", found) for wanted, found in zip(segment, part, strict=True)
    )


@dataclass(frozen=True, slots=True)
class UIDs:
    """One of several UIDs (List of UID Matching)."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """One of several patterns; folded ones are compared with folded values."""

    patterns: tuple[Pattern, ...]
    folded: bool


@dataclass(frozen=True, slots=True)
class Name:
    """A person name.

    Attributes
    ----------
    groups
        Patterns of the alphabetic, ideographic and phonetic group, alternatives within a
        group, none where a group does not matter. A single entry may be any group's.
    words
        Fuzzy matching: or each of these is the beginning of a word of the name, or sounds like one.
    """

    groups: tuple[tuple[Pattern, ...], ...]
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Range:
    """A date (``DA``), time (``TM``) or both (``DT``), normalised; an empty end is open.

    A single value is the range of what it leaves unsaid: a time of ``10`` is any from 10 to 11 o'clock.
    """

    vr: str
    low: str
    high: str
    is_single: bool = False


@dataclass(frozen=True, slots=True)
class Numbers:
    """One of several numbers."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Empty:
    """No value (Empty Value Matching)."""


Test: TypeAlias = UIDs | Text | Name | Range | Numbers | Empty


@dataclass(frozen=True, slots=True)
class Criterion:
    """A test of the attribute at the end of a path of tags, sequences before it."""

    path: tuple[str, ...]
    test: Test

    @property
    def tag(self) -> str:
        """The attribute of the data set itself."""
        return self.path[0]


@dataclass(frozen=True, slots=True)
class Period:
    """Date and time ranges taken together: from one moment to another (PS3.4 section C.2.2.2.5.4)."""

    date_tag: str
    time_tag: str
    dates: Range
    times: Range


#: Attribute pairs that make a moment.
MOMENTS: Final = {"00080020": "00080030", "00080021": "00080031", "00400244": "00400245"}
