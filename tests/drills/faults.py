"""Which faults there are, drawn from a seed, and how each is made."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.drills.site import Node, Site

#: Kind of fault, and whom it may strike.
FAULTS: Final = {
    "kill": ("edge", "origin"),
    "power": ("edge", "origin"),
    "line": ("line",),
    "disk": ("edge", "origin"),
    "flip": ("edge", "origin", "line"),
}
NEEDS_DISKS: Final = frozenset({"power", "disk"})
_PATIENCE_S: Final = 20.0  # until contents pass a line on which a bit is to be flipped: the edge pauses after failures


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens next.

    Attributes
    ----------
    after_s
        Seconds since the fault before.
    lasts_s
        How long the node is away, the line cut, the disk full.
    seed
        Chooses the bit that is flipped.
    """

    kind: str
    victim: str
    after_s: float
    lasts_s: float
    seed: int

    def __str__(self) -> str:
        return f"{self.kind} {self.victim}"


def faults_of(seed: int) -> Iterator[Fault]:
    """Yield the faults of a seed, without end."""
    rng = random.Random(seed)
    kinds = list(FAULTS)
    while True:
        kind = rng.choice(kinds)
        victim = rng.choice(FAULTS[kind])
        yield Fault(kind, victim, rng.uniform(0.1, 2.0), rng.uniform(0.0, 0.8), rng.getrandbits(32))


async def strike(site: Site, fault: Fault) -> bool:
    """Have a fault happen, and end; return whether there was anything to spoil."""
    if fault.kind in NEEDS_DISKS and not site.has_disks:
        return False
    if fault.victim == "line":
        return await _strike_line(site, fault)
    return await _strike_node(site.edge if fault.victim == "edge" else site.origin, fault)


async def _strike_line(site: Site, fault: Fault) -> bool:
    if fault.kind == "flip":
        return await site.line.flip_a_bit(random.Random(fault.seed).random(), _PATIENCE_S)
    site.line.cut()
    await asyncio.sleep(fault.lasts_s)
    site.line.mend()
    return True


async def _strike_node(node: Node, fault: Fault) -> bool:
    if fault.kind == "disk":
        await asyncio.to_thread(node.disk.fill)
        await asyncio.sleep(fault.lasts_s)
        node.disk.make_room()
        return True
    if fault.kind == "power":
        await asyncio.to_thread(node.cut_power)
    else:
        node.kill()
    done = fault.kind != "flip" or node.flip_a_bit(random.Random(fault.seed))
    await asyncio.sleep(fault.lasts_s / 3)
    await node.start()
    return done
