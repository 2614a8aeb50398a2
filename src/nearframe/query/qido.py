"""The query parameters of a search (PS3.18 section 8.3.4) as values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from nearframe.dicom.dictionary import public_vr, tag_of
from nearframe.errors import MalformedRequest
from nearframe.query.matching import parse_test
from nearframe.storage.catalogue.criteria import Criterion, Empty

MAX_PARAMETERS: Final = 200
MAX_DEPTH: Final = 8
_MAX_OFFSET: Final = 2**31

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_SPEAKABLE: Final = re.compile(r"[\w.]{1,64}", re.ASCII)
#: Parameters of other layers: what a search answers does not depend on them.
_OF_OTHERS: Final = frozenset({"accept", "charset", "token"})


@dataclass(frozen=True, slots=True)
class Query:
    """A search as it was asked.

    Attributes
    ----------
    keys
        Tags of the attributes that were matched or asked for with an empty value: an answer has them too.
    include
        Further tags to return; of a path the sequence.
    limit
        None if the caller set none.
    ignored
        Parameters that are neither attributes nor known, as far as they may be repeated in a header.
    """

    criteria: tuple[Criterion, ...] = ()
    keys: frozenset[str] = frozenset()
    include: frozenset[str] = frozenset()
    include_all: bool = False
    limit: int | None = None
    offset: int = 0
    ignored: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reading:
    criteria: list[Criterion] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    include: set[str] = field(default_factory=set)
    ignored: list[str] = field(default_factory=list)


def parse_query(params: Sequence[tuple[str, str]]) -> Query:
    """Read the decoded query parameters of a search.

    Raises
    ------
    MalformedRequest
        If a known parameter, or the value of an attribute, cannot be read.
    """
    if len(params) > MAX_PARAMETERS:
        raise MalformedRequest(f"a search takes at most {MAX_PARAMETERS} parameters")
    once = {name: value for name, value in params if name in ("limit", "offset")}
    fuzzy = _flag(params, "fuzzymatching")
    match_empty = _flag(params, "emptyvaluematching")
    _flag(params, "multiplevaluematching")  # several values are always alternatives
    reading = _Reading()
    for name, value in params:
        if name == "includefield":
            _include(reading, value)
        elif name not in once and name not in _FLAGS and name not in _OF_OTHERS:
            _key(reading, name, value, fuzzy=fuzzy, match_empty=match_empty)
    return Query(
        criteria=tuple(reading.criteria),
        keys=frozenset(reading.keys),
        include=frozenset(reading.include - {"all"}),
        include_all="all" in reading.include,
        limit=_count(once, "limit"),
        offset=_count(once, "offset") or 0,
        ignored=tuple(dict.fromkeys(reading.ignored)),
    )


def parse_path(text: str) -> tuple[str, ...] | None:
    """Read an attribute: a keyword or eight hex digits, or several with dots between; None if it is neither."""
    parts = text.split(".")
    if len(parts) > MAX_DEPTH:
        return None
    tags = [_tag(part) for part in parts]
    return None if None in tags else tuple(tag for tag in tags if tag is not None)


def vr_of(tag: str) -> str:
    """Return the VR of a standard attribute, LO for what the dictionary does not know."""
    return (public_vr(int(tag, 16)) or "LO").partition(" ")[0]


_FLAGS: Final = frozenset({"fuzzymatching", "emptyvaluematching", "multiplevaluematching"})


def _tag(part: str) -> str | None:
    if _TAG.fullmatch(part):
        return part.upper()
    number = tag_of(part)
    return None if number is None else f"{number:08X}"


def _include(reading: _Reading, value: str) -> None:
    for part in filter(None, (part.strip() for part in value.split(","))):
        path = parse_path(part)
        if part == "all":
            reading.include.add("all")
        elif path is None:
            reading.ignored.append(_speakable(part))
        else:
            reading.include.add(path[0])


def _key(reading: _Reading, name: str, value: str, *, fuzzy: bool, match_empty: bool) -> None:
    path = parse_path(name)
    if path is None:
        reading.ignored.append(_speakable(name))
        return
    reading.keys.add(path[0])
    vr = vr_of(path[-1])
    if vr == "SQ" and not value.strip(" *"):
        return
    test = parse_test(vr, path[-1], value, fuzzy=fuzzy)
    if isinstance(test, Empty) and not match_empty:
        # Two quotes are what a client that quotes its values makes of an empty one.
        test = None
    if test is not None:
        reading.criteria.append(Criterion(path, test))


def _flag(params: Sequence[tuple[str, str]], name: str) -> bool:
    values = {value.strip().lower() for key, value in params if key == name}
    if not values <= {"true", "false", ""}:
        raise MalformedRequest(f"{name} is true or false")
    return "true" in values


def _count(once: dict[str, str], name: str) -> int | None:
    text = once.get(name, "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > _MAX_OFFSET:
        raise MalformedRequest(f"{name} is a whole number, 0 or more")
    return int(text)


def _speakable(name: str) -> str:
    # It goes into a header line: nothing but letters, digits and dots is repeated.
    return name if _SPEAKABLE.fullmatch(name) else "a parameter with other characters"
