"""Who is examined."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from nearframe.config import Settings
from nearframe.query.health import Finding, State


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answered.

    Attributes
    ----------
    document
        The JSON of it, None if it is none.
    moment
        What its clock says, None if it does not.
    """

    document: object
    moment: datetime | None


def unseen(why: str) -> Finding:
    """Return the finding of a check that was not made."""
    return Finding(State.OK, f"not looked at: {why}")


class Ask(Protocol):
    """Asks a node for what is at a URL."""

    def __call__(self, url: str, *, is_own: bool) -> Answer:
        """Return what it answers.

        Parameters
        ----------
        is_own
            It is the node that is examined.

        Raises
        ------
        UpstreamError
            If it does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Patient:
    """A node, as its settings and its home describe it.

    Attributes
    ----------
    role
        ``origin``, ``edge``, or empty if the home belongs to nobody yet.
    is_running
        A process owns its store.
    is_deep
        Whether to look at everything, which takes as long as there is much of it.
    """

    settings: Settings
    role: str
    is_running: bool
    now: datetime
    ask: Ask
    is_deep: bool = False

    @property
    def home(self) -> Path:
        return self.settings.home

    @property
    def is_new(self) -> bool:
        """Return whether nothing was ever kept here: there is nothing to look at."""
        return not (self.home / "packs").is_dir()
