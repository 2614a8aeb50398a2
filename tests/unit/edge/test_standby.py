"""Connections that stand open, taken last in, first out."""

from __future__ import annotations

import asyncio

from nearframe.edge.standby import Standby
from tests.unit.edge.fakes import settle


class Line:
    """A connection, or what is left of it."""

    def __init__(self) -> None:
        self.is_usable = True
        self.is_cut = False

    def cut(self) -> None:
        self.is_cut = True


class Lines:
    """Connects; refuses or waits when told to."""

    def __init__(self) -> None:
        self.made: list[Line] = []
        self.refuses = False
        self.go = asyncio.Event()
        self.go.set()

    async def connect(self) -> Line:
        await self.go.wait()
        if self.refuses:
            raise ConnectionRefusedError
        self.made.append(Line())
        return self.made[-1]


async def test_the_warmest_is_taken_first_and_none_that_was_closed() -> None:
    standby = Standby(Lines().connect)
    cold, warm, closed = Line(), Line(), Line()
    for one in (cold, warm, closed):
        standby.put(one)
    closed.is_usable = False
    assert (standby.pop(), standby.pop(), standby.pop()) == (warm, cold, None)
    assert closed.is_cut


async def test_it_is_filled_up_behind_those_that_were_in_use() -> None:
    lines = Lines()
    standby = Standby(lines.connect)
    used, closed = Line(), Line()
    closed.is_usable = False
    standby.put(closed)
    standby.put(used)
    lines.go.clear()
    standby.fill(4)
    await settle()
    standby.fill(4)
    lines.go.set()
    await settle()
    assert (len(standby), len(lines.made)) == (4, 3), "those under way count"
    assert closed.is_cut
    assert standby.pop() is used
    standby.fill(2)
    await settle()
    assert len(lines.made) == 3, "enough are there"


async def test_what_cannot_be_opened_is_left() -> None:
    lines = Lines()
    lines.refuses = True
    standby = Standby(lines.connect)
    standby.fill(2)
    await settle()
    assert len(standby) == 0


async def test_closing_ends_what_is_being_opened() -> None:
    lines = Lines()
    standby = Standby(lines.connect)
    idle = Line()
    standby.put(idle)
    lines.go.clear()
    standby.fill(3)
    await standby.close()
    lines.go.set()
    await settle()
    assert idle.is_cut
    assert (len(standby), lines.made) == (0, [])


async def test_who_waits_for_connections_gets_them_or_learns_that_there_are_none() -> None:
    lines = Lines()
    standby = Standby(lines.connect)
    await asyncio.wait_for(standby.filled(3), 5)
    assert len(standby) == 3
    lines.refuses = True
    await asyncio.wait_for(standby.filled(5), 5)
    assert len(standby) == 3
