"""What waits for who reads an association."""

from __future__ import annotations

from typing import cast

import pytest

from nearframe.dimse.arrivals import Arrival, Arrivals, Released
from nearframe.dimse.channel import Channel
from nearframe.dimse.command import Command, CommandField
from nearframe.dimse.messages import Arrived, Data
from nearframe.errors import AssociationLost

ECHO = Arrived(1, Command.request(CommandField.C_ECHO_RQ, 1, {}, has_data=False))


class Line:
    """Only whether it is read."""

    def __init__(self) -> None:
        self._is_read = True

    def is_read(self) -> bool:
        return self._is_read

    def hold_back(self) -> None:
        self._is_read = False

    def read_on(self) -> None:
        self._is_read = True


async def test_small_parts_wait_as_one() -> None:
    arrivals = Arrivals(cast(Channel, Line()))
    for number in range(600):
        arrivals.put(Data(b"x", is_last=number == 599))
    assert await arrivals.next() == Data(b"x" * 512, is_last=False)
    assert await arrivals.next() == Data(b"x" * 88, is_last=True)


async def test_nothing_is_put_together_beyond_the_end_of_a_message() -> None:
    arrivals = Arrivals(cast(Channel, Line()))
    sent: list[Arrival] = [Data(b"a", is_last=True), ECHO, Data(b"b", is_last=True), Released()]
    for one in sent:
        arrivals.put(one)
    assert [await arrivals.next() for _ in sent] == sent


@pytest.mark.parametrize("one", [Data(bytes(10_000), is_last=False), ECHO])
async def test_much_that_waits_holds_the_peer_back(one: Data | Arrived) -> None:
    line = Line()
    arrivals = Arrivals(cast(Channel, line))
    waiting = 0
    while line.is_read():
        arrivals.put(one)
        waiting += 1
    assert waiting < 300
    while not line.is_read():
        await arrivals.next()
        waiting -= 1
    assert waiting > 5


async def test_who_reads_gets_the_rest_before_it_is_told_of_the_end() -> None:
    arrivals = Arrivals(cast(Channel, Line()))
    arrivals.put(ECHO)
    arrivals.fail(AssociationLost("first"))
    arrivals.fail(AssociationLost("second"))
    assert await arrivals.next() == ECHO
    with pytest.raises(AssociationLost, match="first"):
        await arrivals.next()
