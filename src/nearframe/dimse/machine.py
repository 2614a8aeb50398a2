"""The upper layer's state machine (PS3.8 section 9.2), as the standard tabulates it.

States, events and actions have the standard's own labels. `Machine` knows no socket and no
clock: it is told what happened, and returns what is to be done. A pair that the table leaves
empty cannot happen by what a peer sends, and is a defect of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final


class State(IntEnum):
    """PS3.8 Table 9-1 to 9-5."""

    IDLE = 1
    AWAITING_REQUEST = 2
    AWAITING_LOCAL_ANSWER = 3
    AWAITING_TRANSPORT = 4
    AWAITING_ANSWER = 5
    ESTABLISHED = 6
    AWAITING_RELEASE_ANSWER = 7
    AWAITING_LOCAL_RELEASE = 8
    COLLISION_REQUESTOR_LOCAL = 9
    COLLISION_ACCEPTOR_REMOTE = 10
    COLLISION_REQUESTOR_REMOTE = 11
    COLLISION_ACCEPTOR_LOCAL = 12
    AWAITING_CLOSE = 13


class Event(IntEnum):
    """PS3.8 Table 9-10, left column."""

    ASSOCIATE_REQUEST = 1
    TRANSPORT_CONFIRMED = 2
    ASSOCIATE_AC_RECEIVED = 3
    ASSOCIATE_RJ_RECEIVED = 4
    TRANSPORT_INDICATED = 5
    ASSOCIATE_RQ_RECEIVED = 6
    LOCAL_ACCEPT = 7
    LOCAL_REJECT = 8
    DATA_REQUEST = 9
    DATA_RECEIVED = 10
    RELEASE_REQUEST = 11
    RELEASE_RQ_RECEIVED = 12
    RELEASE_RP_RECEIVED = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT_RECEIVED = 16
    TRANSPORT_CLOSED = 17
    TIMER_EXPIRED = 18
    INVALID_PDU_RECEIVED = 19


class Action(Enum):
    """PS3.8 Tables 9-6 to 9-9: what is to be done, and in the comment, with what."""

    AE_1 = "open the transport"
    AE_2 = "send A-ASSOCIATE-RQ"
    AE_3 = "confirm: accepted"
    AE_4 = "confirm: rejected, close"
    AE_5 = "start the timer"
    AE_6 = "stop the timer, examine the request"
    AE_7 = "send A-ASSOCIATE-AC"
    AE_8 = "send A-ASSOCIATE-RJ, start the timer"
    DT_1 = "send P-DATA-TF"
    DT_2 = "indicate data"
    AR_1 = "send A-RELEASE-RQ"
    AR_2 = "indicate release"
    AR_3 = "confirm release, close"
    AR_4 = "send A-RELEASE-RP, start the timer"
    AR_5 = "stop the timer"
    AR_6 = "indicate data while releasing"
    AR_7 = "send P-DATA-TF while releasing"
    AR_8 = "indicate a collision of releases"
    AR_9 = "send A-RELEASE-RP after a collision"
    AR_10 = "confirm release after a collision"
    AA_1 = "send A-ABORT (user), start the timer"
    AA_2 = "stop the timer, close"
    AA_3 = "indicate abort, close"
    AA_4 = "indicate abort by the provider"
    AA_5 = "stop the timer, nothing more"
    AA_6 = "ignore"
    AA_7 = "send A-ABORT"
    AA_8 = "send A-ABORT (provider), indicate, start the timer"


def _table() -> Mapping[tuple[Event, State], tuple[Action, State]]:
    rows: dict[tuple[Event, State], tuple[Action, State]] = {}

    def add(event: int, states: tuple[int, ...], action: Action, to: int | None = None) -> None:
        for state in states:
            rows[Event(event), State(state)] = (action, State(state if to is None else to))

    held = (6, 7, 8, 9, 10, 11, 12)  # an association exists
    add(1, (1,), Action.AE_1, 4)
    add(2, (4,), Action.AE_2, 5)
    add(5, (1,), Action.AE_5, 2)
    for event in (3, 4, 10, 12, 13):  # a PDU that belongs to an association, and none is
        add(event, (2,), Action.AA_1, 13)
        add(event, (3, 5, *held), Action.AA_8, 13)
        add(event, (13,), Action.AA_6)
    add(6, (3, 5, *held), Action.AA_8, 13)
    add(6, (13,), Action.AA_7)
    add(3, (5,), Action.AE_3, 6)
    add(4, (5,), Action.AE_4, 1)
    add(6, (2,), Action.AE_6, 3)
    add(7, (3,), Action.AE_7, 6)
    add(8, (3,), Action.AE_8, 13)
    add(9, (6,), Action.DT_1)
    add(9, (8,), Action.AR_7)
    add(10, (6,), Action.DT_2)
    add(10, (7,), Action.AR_6)
    add(11, (6,), Action.AR_1, 7)
    add(12, (6,), Action.AR_2, 8)
    # State 7 and a release request: AR-8, whose next state depends on who requested the association (`Machine.on`).
    add(12, (7,), Action.AR_8, 9)
    add(13, (7, 11), Action.AR_3, 1)
    add(13, (10,), Action.AR_10, 12)
    add(14, (8, 12), Action.AR_4, 13)
    add(14, (9,), Action.AR_9, 11)
    add(15, (3, 5, *held), Action.AA_1, 13)
    add(15, (4,), Action.AA_2, 1)
    add(16, (2, 13), Action.AA_2, 1)
    add(16, (3, 5, *held), Action.AA_3, 1)
    add(17, (2,), Action.AA_5, 1)
    add(17, (3, 4, 5, *held), Action.AA_4, 1)
    add(17, (13,), Action.AR_5, 1)
    add(18, (2, 13), Action.AA_2, 1)
    add(19, (2,), Action.AA_1, 13)
    add(19, (3, 5, *held), Action.AA_8, 13)
    add(19, (13,), Action.AA_7)
    return MappingProxyType(rows)


TABLE: Final = _table()


class Machine:
    """The state of one association.

    Parameters
    ----------
    is_requestor
        True if this side asks for the association.
    """

    def __init__(self, *, is_requestor: bool) -> None:
        self.is_requestor = is_requestor
        self.state = State.IDLE

    @property
    def is_established(self) -> bool:
        return self.state is State.ESTABLISHED

    def on(self, event: Event) -> Action:
        """Take the step that `event` makes, and return what is to be done.

        Raises
        ------
        KeyError
            If this cannot happen now: a defect of the caller.
        """
        action, state = TABLE[event, self.state]
        if action is Action.AR_8 and not self.is_requestor:
            state = State.COLLISION_ACCEPTOR_REMOTE
        self.state = state
        return action
