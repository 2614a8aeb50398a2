"""The ``Via`` header (RFC 9110 section 7.6.3): who a request has been through, or the changes that a feed tells of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

#: Edges behind edges behind edges: more than a few make no sense, and somebody may write anything.
MAX_NAMES: Final = 16


def names_in_via(values: Iterable[str]) -> list[str]:
    """Return the names of the nodes in ``Via`` headers, in order; comments and what is malformed are left out."""
    members = (member.split() for value in values for member in value.split(","))
    return [words[1] for words in members if len(words) >= 2]


def with_via(values: Iterable[str], name: str) -> str:
    """Return the header of a request that this node passes on; `name` is a token."""
    return ", ".join([*values, f"1.1 {name}"])


def names_after(name: str, names: Sequence[str]) -> list[str]:
    """Return the names after the last time that one of them is `name`: in a circle they would grow with each turn."""
    last = max((at for at, one in enumerate(names, 1) if one == name), default=0)
    return list(names[last:][-MAX_NAMES:])
