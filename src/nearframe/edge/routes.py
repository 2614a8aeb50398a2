"""The route table: which class of urgency a study or a request is of. Pure.

Rules are ``[[route]]`` tables of ``nearframe.toml``, tried in order; the first of which all
conditions hold decides::

    [[route]]
    class = "stat"
    modality = "CT"
    description = ["*stroke*", "*trauma*"]

    [[route]]
    class = "bulk"
    peer = "10.1.9.0/24"          # the research group's exports

    [[route]]
    class = "routine"
    institution = "reference lab"
    recipes = false               # frames of these studies cross the line as they are
    index = false                 # and what they look like stays upstream

Conditions on the study (`STUDY_CONDITIONS`) hold for every request for it, and for what is
fetched before anybody asks. Those on the request (`REQUEST_CONDITIONS`) only say how urgent
that one request is. Patterns take ``*`` and ``?``, whatever the case; a list means any of them.
"""

from __future__ import annotations

import difflib
import fnmatch
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from nearframe.context import Urgency
from nearframe.edge.facts import StudyFacts
from nearframe.errors import ConfigurationError
from nearframe.query.urgency import read_urgency
from nearframe.units import format_age, format_duration, parse_duration

#: Age from which a study that no rule names is historical.
HISTORICAL: Final = timedelta(days=30)
MAX_RULES: Final = 1000
#: What a rule of studies may forbid.
_SWITCHES: Final = ("recipes", "index")


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """A request as rules see it: the address of who asks (empty if unknown), and the path."""

    peer: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a rule is held against.

    Attributes
    ----------
    now
        Local time.
    request
        None for the study as such.
    """

    study: StudyFacts
    now: datetime
    request: RequestFacts | None = None


_Test: TypeAlias = Callable[[Asked], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a rule: as it is written, and as it is tested."""

    name: str
    written: str
    holds: _Test

    def found(self, asked: Asked) -> str | None:
        """Return what the study has of that which is looked at, for people; None if it looks at the request."""
        if self.name in REQUEST_CONDITIONS:
            return None
        if self.age is None:
            return ", ".join(sorted(_VALUES[self.name](asked.study)))
        acquired_at = asked.study.acquired_at
        return "" if acquired_at is None else format_age((asked.now - acquired_at).total_seconds())

    @property
    def age(self) -> timedelta | None:
        """The age that it looks at, if it does."""
        if self.name not in ("older_than", "younger_than"):
            return None
        return timedelta(seconds=parse_duration(self.written))


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    Attributes
    ----------
    number
        Counts from one, 0 is what holds where no rule does.
    recipes
        False if frames of the studies that it decides about cross the line as they are.
    index
        False if the perceptual index of those studies is neither asked for nor kept.
    """

    number: int
    urgency: Urgency
    conditions: tuple[Condition, ...] = ()
    name: str = ""
    recipes: bool = True
    index: bool = True

    @property
    def is_of_requests(self) -> bool:
        """True if it looks at requests, and so says nothing of a study as such."""
        return any(condition.name in REQUEST_CONDITIONS for condition in self.conditions)

    @property
    def written(self) -> str:
        """The rule in a line, as a person would say it."""
        return self.name or ", ".join(f"{one.name} = {one.written}" for one in self.conditions) or "always"

    def holds(self, asked: Asked) -> bool:
        return all(condition.holds(asked) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class Trial:
    """How one rule fared: each condition with whether it held."""

    rule: Rule
    conditions: tuple[tuple[Condition, bool], ...]
    decides: bool


#: What holds where no rule does.
_OTHERWISE: Final = (
    Rule(
        0,
        Urgency.ARCHIVE,
        (Condition("older_than", f"{HISTORICAL.days} d", lambda asked: _age_exceeds(asked, HISTORICAL)),),
    ),
    Rule(0, Urgency.ROUTINE, name="otherwise"),
)


class RouteTable:
    """Rules in order. Immutable; for any thread."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules: tuple[Rule, ...] = (*rules, *_OTHERWISE)
        self._of_studies = tuple(rule for rule in self.rules if not rule.is_of_requests)
        #: False where asking about a request tells no more than asking about its study.
        self.looks_at_requests = len(self._of_studies) < len(self.rules)
        #: False where no rule says anything about recipes.
        self.looks_at_recipes = not all(rule.recipes for rule in self._of_studies)
        #: False where no rule says anything about the perceptual index.
        self.looks_at_index = not all(rule.index for rule in self._of_studies)
        ages = {condition.age for rule in self._of_studies for condition in rule.conditions}
        self._ages = sorted(age for age in ages if age is not None)

    @classmethod
    def parse(cls, tables: Iterable[Mapping[str, object]]) -> RouteTable:
        """Read the rules as the settings have them.

        Raises
        ------
        ConfigurationError
            Naming the rule, the condition, and what is expected.
        """
        rules = [_rule(number, table) for number, table in enumerate(tables, 1)]
        if len(rules) > MAX_RULES:
            raise ConfigurationError(f"route: {len(rules)} rules, and {MAX_RULES} are the most; use patterns")
        return cls(rules)

    def decide(self, asked: Asked) -> Rule:
        """Return the first rule that holds; without a request those of requests do not."""
        rules = self._of_studies if asked.request is None else self.rules
        return next(rule for rule in rules if rule.holds(asked))

    def holds_for(self, acquired_at: datetime | None, now: datetime) -> timedelta | None:
        """Return for how long what was decided about a study holds at least: until it reaches the next age."""
        if acquired_at is None:
            return None
        return next((rest for age in self._ages if (rest := acquired_at + age - now) >= timedelta(0)), None)

    def explain(self, asked: Asked) -> list[Trial]:
        """Return how each rule fared, up to and including the one that decides."""
        trials: list[Trial] = []
        for rule in self.rules:
            conditions = tuple((one, one.holds(asked)) for one in rule.conditions)
            decides = all(held for _, held in conditions)
            trials.append(Trial(rule, conditions, decides))
            if decides:
                break
        return trials


# -- reading rules -----------------------------------------------------------------------------


def _rule(number: int, table: Mapping[str, object]) -> Rule:
    place = f"[[route]], table {number}"
    for key in table:
        if key not in _WORDS:
            raise ConfigurationError(f"{place}: no condition is called {key}{_did_you_mean(key)}")
    urgency = _urgency(table.get("class"), place)
    name = table.get("name", "")
    if not isinstance(name, str):
        raise ConfigurationError(f"{place}: name is a text")
    switches = {switch: _switch(switch, table.get(switch, True), place) for switch in _SWITCHES}
    conditions: list[Condition] = []
    for key, value in table.items():
        if key not in _READERS:
            continue
        try:
            conditions.append(Condition(key, _written(value), _READERS[key](value)))
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{place}: {key} cannot be {value!r}: {error}") from error
    rule = Rule(number, urgency, tuple(conditions), name, **switches)
    _check_ages(rule, place)
    for switch, is_on in switches.items():
        if rule.is_of_requests and not is_on:
            raise ConfigurationError(f"{place}: {switch} = false is of studies, and this rule looks at requests")
    return rule


def _check_ages(rule: Rule, place: str) -> None:
    ages = {one.name: one.age for one in rule.conditions}
    least, most = ages.get("older_than"), ages.get("younger_than")
    if least is not None and most is not None and most <= least:
        raise ConfigurationError(
            f"{place}: no study is older than {format_duration(least.total_seconds())} "
            f"and younger than {format_duration(most.total_seconds())}; this rule never holds"
        )


def _switch(switch: str, value: object, place: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{place}: {switch} is true or false")
    return value


def _urgency(value: object, place: str) -> Urgency:
    try:
        return read_urgency(value)
    except ValueError as error:
        found = "has no class" if value is None else f"class cannot be {value!r}"
        raise ConfigurationError(f"{place}: {found}: {error}") from error


def _did_you_mean(key: str) -> str:
    close = difflib.get_close_matches(key, _WORDS, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(_WORDS)}"


def _written(value: object) -> str:
    return " or ".join(map(str, value)) if isinstance(value, list) else str(value)


def _words(value: object) -> list[str]:
    words: list[object] = value if isinstance(value, list) else [value]
    texts = [word for word in words if isinstance(word, str) and word]
    if not texts or len(texts) < len(words):
        raise TypeError("expected a text or a list of texts")
    return texts


def _pattern(value: object) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(word) for word in _words(value)), re.IGNORECASE)


def _matching(values_of: Callable[[StudyFacts], Iterable[str]]) -> Callable[[object], _Test]:
    def read(value: object) -> _Test:
        pattern = _pattern(value)
        return lambda asked: any(pattern.match(text) for text in values_of(asked.study))

    return read


def _older_than(value: object) -> _Test:
    age = _duration(value)
    return lambda asked: _age_exceeds(asked, age)


def _younger_than(value: object) -> _Test:
    age = _duration(value)
    return lambda asked: asked.study.acquired_at is not None and not _age_exceeds(asked, age)


def _duration(value: object) -> timedelta:
    if not isinstance(value, str):
        raise TypeError("expected a time with its unit, for example 24 h")
    return timedelta(seconds=parse_duration(value))


def _age_exceeds(asked: Asked, age: timedelta) -> bool:
    acquired_at = asked.study.acquired_at
    return acquired_at is not None and asked.now - acquired_at > age


def _peer(value: object) -> _Test:
    networks = [ipaddress.ip_network(word) for word in _words(value)]

    def holds(asked: Asked) -> bool:
        if asked.request is None:
            return False
        try:
            address = ipaddress.ip_address(asked.request.peer)
        except ValueError:
            return False
        return any(address in network for network in networks)

    return holds


def _path(value: object) -> _Test:
    pattern = _pattern(value)
    return lambda asked: asked.request is not None and pattern.match(asked.request.path) is not None


_VALUES: Final[Mapping[str, Callable[[StudyFacts], Iterable[str]]]] = {
    "modality": lambda study: study.modalities,
    "description": lambda study: study.descriptions,
    "referring_physician": lambda study: study.referring_physicians,
    "institution": lambda study: study.institutions,
    "body_part": lambda study: study.body_parts,
    "order_priority": lambda study: study.order_priorities,
}
STUDY_CONDITIONS: Final[Mapping[str, Callable[[object], _Test]]] = {
    **{name: _matching(values_of) for name, values_of in _VALUES.items()},
    "older_than": _older_than,
    "younger_than": _younger_than,
}
REQUEST_CONDITIONS: Final[Mapping[str, Callable[[object], _Test]]] = {"peer": _peer, "path": _path}
_READERS: Final = {**STUDY_CONDITIONS, **REQUEST_CONDITIONS}
#: All that a rule may say.
_WORDS: Final = ("class", "name", *_SWITCHES, *_READERS)
