"""What a de-identification keeps beyond the Basic Profile, and which parts of pictures it blackens."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple

from nearframe.dicom.dictionary import tag_of
from nearframe.errors import ConfigurationError

#: The name of the profile without options.
BASIC: Final = "basic"


class Option(Enum):
    """An option of PS3.15 section E.3: the word for it, and its code in PS3.16 CID 7050.

    Those that clean are not among them but for pixels and structured content, which `Profile`
    and `metadata` see to: descriptors and overlays, which only a person could clean, are removed.
    """

    UIDS = ("uids", "113110", "Retain UIDs Option")
    DATES = ("dates", "113106", "Retain Longitudinal Temporal Information Full Dates Option")
    MODIFIED_DATES = ("modified-dates", "113107", "Retain Longitudinal Temporal Information Modified Dates Option")
    PATIENT = ("patient", "113108", "Retain Patient Characteristics Option")
    DEVICE = ("device", "113109", "Retain Device Identity Option")
    INSTITUTION = ("institution", "113112", "Retain Institution Identity Option")
    SAFE_PRIVATE = ("safe-private", "113111", "Retain Safe Private Option")

    def __init__(self, word: str, code: str, meaning: str) -> None:
        self.word = word
        self.code = code
        self.meaning = meaning


class Region(NamedTuple):
    """A rectangle of a picture, in pixels from its top left corner; beyond the edge it ends there."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Mask:
    """Regions to blacken in the pictures it is for.

    Attributes
    ----------
    when
        JSON keys of attributes, and the value that each must have.
    """

    when: tuple[tuple[str, str], ...]
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """The Basic Profile with options.

    Attributes
    ----------
    masks
        The first that fits a picture is the one that counts.
    pixels_checked
        True if a person has looked at the pictures whose header does not say whether text is burned in.
    """

    options: frozenset[Option] = frozenset()
    masks: tuple[Mask, ...] = ()
    pixels_checked: bool = False

    def __post_init__(self) -> None:
        if {Option.DATES, Option.MODIFIED_DATES} <= self.options:
            raise ConfigurationError("dates are kept or modified: take one of dates and modified-dates")

    def keeps(self, option: Option) -> bool:
        return option in self.options


def options_named(words: Iterable[str]) -> frozenset[Option]:
    """Return the options that are meant.

    Raises
    ------
    ConfigurationError
        If there is no such option.
    """
    by_word = {option.word: option for option in Option}
    try:
        return frozenset(by_word[word] for word in words)
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"what can be kept is {', '.join(by_word)}") from error


def read_profile(path: Path) -> Profile:
    """Read a profile file: ``keep``, ``pixels-checked`` and ``[[mask]]`` tables, see the guide.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or says something else.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read as a profile: {error}") from error
    keep, checked, masks = (document.pop(name, None) for name in ("keep", "pixels-checked", "mask"))
    if document or not isinstance(checked, bool | None):
        raise ConfigurationError(f"{path}: a profile has keep = [...], pixels-checked = true or false, [[mask]] tables")
    tables = masks if isinstance(masks, list) else []
    return Profile(options_named(keep or ()), tuple(_mask(path, table) for table in tables), bool(checked))


def _mask(path: Path, table: Any) -> Mask:
    try:
        when: Mapping[str, str] = table["when"]
        regions = tuple(_region(one) for one in table["regions"])
        if not when or not regions or set(table) != {"when", "regions"}:
            raise ValueError
        return Mask(tuple((_key(keyword), str(value)) for keyword, value in when.items()), regions)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f'{path}: a mask is when = {{ Modality = "US", Rows = 480 }} and regions = [[left, top, width, height]]'
        ) from error


def _region(numbers: Any) -> Region:
    region = Region(*numbers)
    if any(type(number) is not int or number < 0 for number in region):
        raise ValueError
    return region


def _key(keyword: str) -> str:
    tag = tag_of(keyword)
    if tag is None:
        raise KeyError(keyword)
    return f"{tag:08X}"
