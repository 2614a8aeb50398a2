"""The examination: every check, in an order in which the first finding explains those behind it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from nearframe.errors import NearframeError
from nearframe.query.health import WELL, Finding, State
from nearframe.upkeep.doctor import bucket, home, keeping, network, stores
from nearframe.upkeep.doctor.patient import Patient

Check: TypeAlias = Callable[[Patient], Finding]


@dataclass(frozen=True, slots=True)
class Examined:
    """A check that was made; `what` says what was looked at."""

    name: str
    what: str
    finding: Finding


#: Name, what is looked at, and how.
CHECKS: Final[tuple[tuple[str, str, Check], ...]] = (
    ("home", "the home is there, whole, and this node's", home.look_at_home),
    ("permissions", "who may read and write in the home", home.look_at_permissions),
    ("disk", "room to take objects in", home.look_at_disk),
    ("clock", "the time, against what was written last", home.look_at_clock),
    ("limits", "what the system lets a process open", home.look_at_limits),
    ("keys", "the root key, and the ring that it opens", stores.look_at_keys),
    ("catalogue", "the catalogue: there, sound, of a schema known here", stores.look_at_catalogue),
    ("duties", "which process does what only one may", stores.look_at_duties),
    ("packs", "the packs, against their index", stores.look_at_packs),
    ("bucket", "the bucket: there, ours, able to hold objects for the law", bucket.look_at_bucket),
    ("contents", "what the catalogue speaks of is held", stores.look_at_contents),
    ("retention", "how long things are kept", keeping.look_at_retention),
    ("holds", "legal holds", keeping.look_at_holds),
    ("scrub", "when everything was last read and proved", stores.look_at_scrub),
    ("tls", "certificates: readable, fitting, valid", network.look_at_tls),
    ("ports", "the addresses to listen at", network.look_at_ports),
    ("upstream", "the nodes that an edge follows", network.look_at_upstream),
    ("node", "what the running node says of itself", network.look_at_node),
)


def examine(patient: Patient, without: Container[str] = ()) -> Iterator[Examined]:
    """Make every check but some; one that cannot be made says why."""
    for name, what, check in CHECKS:
        if name not in without:
            yield Examined(name, what, _made(check, patient))


def examined_json(found: list[Examined]) -> dict[str, object]:
    """Return what is told of an examination."""
    checks = {one.name: {"what": one.what} | one.finding.as_json() for one in found}
    return {"status": worst(found).word, "checks": checks}


def worst(found: list[Examined]) -> State:
    """Return how the node is."""
    return max((one.finding.state for one in found), default=WELL.state)


def _made(check: Check, patient: Patient) -> Finding:
    try:
        return check(patient)
    except NearframeError as error:
        return Finding(State.FAILING, str(error))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return Finding(State.FAILING, f"{error.strerror}{where}: run this as the user that runs the node")
