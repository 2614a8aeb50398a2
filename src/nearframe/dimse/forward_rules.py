"""Which instances go on to which peer: ``[[forward]]`` tables of the settings. Pure.

::

    [[forward]]
    to = "PACS"                                # one of [[peers]], with host and port
    Modality = ["CT", "MR"]
    StudyDescription = "*stroke*"

Conditions are attributes by keyword; patterns take ``*`` and ``?``, whatever the case, and a list means
any of them. All conditions of a rule hold, or it does not; without any it is for everything.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nearframe.dicom.dictionary import tag_of
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.peers import KnownPeer
from nearframe.errors import ConfigurationError

MAX_RULES: Final = 1000


@dataclass(frozen=True, slots=True)
class ForwardRule:
    """One table: where to, and the pattern of each attribute (by tag) that has to match."""

    to: str
    conditions: tuple[tuple[str, re.Pattern[str]], ...] = ()

    def holds(self, metadata: DICOMJSON) -> bool:
        return all(any(map(pattern.match, _texts(metadata, tag))) for tag, pattern in self.conditions)


def destinations(rules: Iterable[ForwardRule], metadata: DICOMJSON) -> list[str]:
    """Return the AE titles that an instance goes to, each once."""
    return list(dict.fromkeys(rule.to for rule in rules if rule.holds(metadata)))


def read_rules(tables: Iterable[Mapping[str, object]], peers: Mapping[str, KnownPeer]) -> tuple[ForwardRule, ...]:
    """Read the rules.

    Raises
    ------
    ConfigurationError
        Naming the table and its member that cannot be read.
    """
    rules = []
    for number, table in enumerate(tables, start=1):
        try:
            rules.append(_read(table, peers))
        except ValueError as error:
            raise ConfigurationError(f"[[forward]], table {number}: {error}") from error
    if len(rules) > MAX_RULES:
        raise ConfigurationError(f"[[forward]]: more than {MAX_RULES} tables")
    return tuple(rules)


def _read(table: Mapping[str, object], peers: Mapping[str, KnownPeer]) -> ForwardRule:
    to = table.get("to")
    if not isinstance(to, str) or to not in peers or not peers[to].host:
        raise ValueError("to: expected the ae_title of one of [[peers]] that has a host")
    conditions = [(_tag(name), _pattern(name, value)) for name, value in table.items() if name != "to"]
    return ForwardRule(to, tuple(conditions))


def _tag(name: str) -> str:
    tag = tag_of(name)
    if tag is None:
        raise ValueError(f"DICOM has no attribute {name}; conditions are keywords such as Modality")
    return f"{tag:08X}"


def _pattern(name: str, value: object) -> re.Pattern[str]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{name}: expected a pattern, or a list of patterns")
    return re.compile("|".join(fnmatch.translate(word) for word in words), re.IGNORECASE)


def _texts(metadata: DICOMJSON, tag: str) -> list[str]:
    """Return the values of an attribute; one that is absent or empty has the empty text."""
    values = metadata.get(tag, {}).get("Value") or [""]
    return [text for value in values for text in _texts_of(value)]


def _texts_of(value: Any) -> list[str]:
    return [str(part) for part in value.values()] if isinstance(value, dict) else [str(value)]
