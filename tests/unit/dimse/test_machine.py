"""The state machine is the one of PS3.8 Table 9-10."""

from __future__ import annotations

import pytest

from nearframe.dimse.machine import TABLE, Action, Event, Machine, State

#: The table row by row, as the standard prints it: event, then "state:action/next state".
STANDARD = """
1  1:AE-1/4
2  4:AE-2/5
3  2:AA-1/13 3:AA-8/13 5:AE-3/6 6:AA-8/13 7:AA-8/13 8:AA-8/13 9:AA-8/13 10:AA-8/13 11:AA-8/13 12:AA-8/13 13:AA-6/13
4  2:AA-1/13 3:AA-8/13 5:AE-4/1 6:AA-8/13 7:AA-8/13 8:AA-8/13 9:AA-8/13 10:AA-8/13 11:AA-8/13 12:AA-8/13 13:AA-6/13
5  1:AE-5/2
6  2:AE-6/3 3:AA-8/13 5:AA-8/13 6:AA-8/13 7:AA-8/13 8:AA-8/13 9:AA-8/13 10:AA-8/13 11:AA-8/13 12:AA-8/13 13:AA-7/13
7  3:AE-7/6
8  3:AE-8/13
9  6:DT-1/6 8:AR-7/8
10 2:AA-1/13 3:AA-8/13 5:AA-8/13 6:DT-2/6 7:AR-6/7 8:AA-8/13 9:AA-8/13 10:AA-8/13 11:AA-8/13 12:AA-8/13 13:AA-6/13
11 6:AR-1/7
12 2:AA-1/13 3:AA-8/13 5:AA-8/13 6:AR-2/8 7:AR-8/9 8:AA-8/13 9:AA-8/13 10:AA-8/13 11:AA-8/13 12:AA-8/13 13:AA-6/13
13 2:AA-1/13 3:AA-8/13 5:AA-8/13 6:AA-8/13 7:AR-3/1 8:AA-8/13 9:AA-8/13 10:AR-10/12 11:AR-3/1 12:AA-8/13 13:AA-6/13
14 8:AR-4/13 9:AR-9/11 12:AR-4/13
15 3:AA-1/13 4:AA-2/1 5:AA-1/13 6:AA-1/13 7:AA-1/13 8:AA-1/13 9:AA-1/13 10:AA-1/13 11:AA-1/13 12:AA-1/13
16 2:AA-2/1 3:AA-3/1 5:AA-3/1 6:AA-3/1 7:AA-3/1 8:AA-3/1 9:AA-3/1 10:AA-3/1 11:AA-3/1 12:AA-3/1 13:AA-2/1
17 2:AA-5/1 3:AA-4/1 4:AA-4/1 5:AA-4/1 6:AA-4/1 7:AA-4/1 8:AA-4/1 9:AA-4/1 10:AA-4/1 11:AA-4/1 12:AA-4/1 13:AR-5/1
18 2:AA-2/1 13:AA-2/1
19 2:AA-1/13 3:AA-8/13 5:AA-8/13 6:AA-8/13 7:AA-8/13 8:AA-8/13 9:AA-8/13 10:AA-8/13 11:AA-8/13 12:AA-8/13 13:AA-7/13
"""


def test_the_table_is_the_standards() -> None:
    standard = {}
    for line in STANDARD.strip().splitlines():
        event, *cells = line.split()
        for cell in cells:
            state, _, step = cell.partition(":")
            action, _, to = step.partition("/")
            standard[Event(int(event)), State(int(state))] = (Action[action.replace("-", "_")], State(int(to)))
    assert dict(TABLE) == standard


@pytest.mark.parametrize(
    ("is_requestor", "state"),
    [(True, State.COLLISION_REQUESTOR_LOCAL), (False, State.COLLISION_ACCEPTOR_REMOTE)],
)
def test_a_collision_of_releases_depends_on_who_asked_for_the_association(is_requestor: bool, state: State) -> None:
    machine = Machine(is_requestor=is_requestor)
    machine.state = State.AWAITING_RELEASE_ANSWER
    assert machine.on(Event.RELEASE_RQ_RECEIVED) is Action.AR_8
    assert machine.state is state


def test_whatever_a_peer_sends_has_an_answer_in_every_state_of_a_connection() -> None:
    from_peer = [
        Event.ASSOCIATE_AC_RECEIVED, Event.ASSOCIATE_RJ_RECEIVED, Event.ASSOCIATE_RQ_RECEIVED, Event.DATA_RECEIVED,
        Event.RELEASE_RQ_RECEIVED, Event.RELEASE_RP_RECEIVED, Event.ABORT_RECEIVED, Event.TRANSPORT_CLOSED,
        Event.INVALID_PDU_RECEIVED,
    ]  # fmt: skip
    connected = set(State) - {State.IDLE, State.AWAITING_TRANSPORT}
    assert all((event, state) in TABLE for event in from_peer for state in connected)
