"""Who asks, for whom, how urgently, until when: the first argument of every service call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache

DEFAULT_TENANT = "main"
#: The only principal until custody lands: a process on this machine.
LOCAL_ADMIN = "local_admin"
#: Who does what a node does by itself, by rules somebody gave it.
BY_ITSELF = "by itself"


class Urgency(IntEnum):
    """Clinical urgency, most urgent first; orders the line, eviction, prefetch and admission."""

    STAT = 0
    ACTIVE = 1
    ROUTINE = 2
    ARCHIVE = 3
    BULK = 4


@dataclass(frozen=True, slots=True)
class Scope:
    """What a principal may reach. Until custody lands there is one: everything of the tenant."""

    studies: frozenset[str] | None = None

    def admits(self, study_instance_uid: str) -> bool:
        return self.studies is None or study_instance_uid in self.studies


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Context:
    """The circumstances of one call.

    Attributes
    ----------
    deadline
        Monotonic time in seconds after which the answer is of no use, or None.
    """

    principal: str
    tenant: str
    scope: Scope = EVERYTHING
    urgency: Urgency = Urgency.ROUTINE
    deadline: float | None = None

    def at(self, urgency: Urgency) -> Context:
        """Return the same context with another urgency."""
        return replace(self, urgency=urgency)


@lru_cache(maxsize=1024)
def local_admin(tenant: str = DEFAULT_TENANT, urgency: Urgency = Urgency.ROUTINE) -> Context:
    """Return the context of `LOCAL_ADMIN`. Made once: every request asks for it."""
    return Context(principal=LOCAL_ADMIN, tenant=tenant, urgency=urgency)
