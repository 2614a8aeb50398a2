"""Which instances go on to which peer: ``[[forward]]`` tables of the settings. Pure.

::

    [[forward]]
    to = "PACS"                                # one of [[peers]], with host and port
    Modality = ["CT", "MR"]
    StudyDescription = "*stroke*"

All conditions (`dicom.conditions`) of a rule hold, or it does not; without any it is for everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from nearframe.dicom.conditions import Condition, read_condition
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.peers import KnownPeer
from nearframe.errors import ConfigurationError

MAX_RULES: Final = 1000


@dataclass(frozen=True, slots=True)
class ForwardRule:
    """One table: where to, and what has to be so."""

    to: str
    conditions: tuple[Condition, ...] = ()

    def holds(self, metadata: DICOMJSON) -> bool:
        return all(condition.holds(metadata) for condition in self.conditions)


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
    return ForwardRule(to, tuple(read_condition(name, value) for name, value in table.items() if name != "to"))
