"""Whose turn it is: properties of the rules, whatever the order of events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nearframe.context import Urgency
from nearframe.edge.turns import OTHERS_AT_ONCE, STAT_AT_ONCE, Claim, Direction, Turns, User

WINDOW = 100


def turns() -> Turns:
    return Turns(lambda _: WINDOW)


def begin_all(queue: Turns) -> list[Claim]:
    begun = []
    while (claim := queue.next()) is not None:
        begun.append(claim)
    return begun


def claim(urgency: Urgency, size: int = 10, user: User = User.READER, direction: Direction = Direction.DOWN) -> Claim:
    return Claim(user, urgency, size, direction)


claims = st.builds(
    claim, st.sampled_from(Urgency), st.integers(1, 150), st.sampled_from(User), st.sampled_from(Direction)
)


@given(st.lists(st.one_of(claims, st.integers(0, 30)), max_size=60))
def test_what_is_begun_keeps_the_rules(events: list[Claim | int]) -> None:
    """A number ends that one of the open claims; a claim asks."""
    queue, open_ = turns(), list[Claim]()
    for event in events:
        if isinstance(event, Claim):
            queue.ask(event)
        elif open_:
            queue.over(open_.pop(event % len(open_)))
        for begun in begin_all(queue):
            urgent = {one.direction for one in open_ if one.is_urgent}
            before = sum(one.under_way_bytes for one in open_ if one.direction is begun.direction)
            assert begun.before_bytes == before
            if not begun.is_urgent:
                assert urgent <= {begun.direction}, "an urgent transfer has the other direction to itself"
                if before and (urgent or begun.urgency > Urgency.ROUTINE):
                    assert before + begun.size_bytes <= WINDOW, "beside others only what finds room"
            open_.append(begun)
        assert queue.open == len(open_)
    # Whatever happened, all that asked get their turn once those before them are over.
    while open_:
        queue.over(open_.pop())
        open_ += begin_all(queue)
    assert queue.waiting == queue.open == 0


@given(st.permutations([Urgency.ROUTINE, Urgency.ARCHIVE, Urgency.ARCHIVE] * 2))
def test_the_most_urgent_first(order: list[Urgency]) -> None:
    queue = turns()
    blocker = claim(Urgency.ROUTINE, WINDOW)
    queue.ask(blocker)
    begin_all(queue)
    for urgency in order:
        queue.ask(claim(urgency, WINDOW))
    assert begin_all(queue) == []
    served = []
    last = blocker
    for _ in order:
        queue.over(last)
        (last,) = begin_all(queue)
        served.append(last.urgency)
    assert served == sorted(order)


def test_users_of_what_can_wait_share_by_bytes() -> None:
    queue = turns()
    for _ in range(40):
        queue.ask(claim(Urgency.ARCHIVE, 60, User.READ_AHEAD))
    for _ in range(200):
        queue.ask(claim(Urgency.BULK, 20, User.FORWARD))
    had = dict.fromkeys(User, 0)
    for _ in range(40):
        begun = begin_all(queue)
        for one in begun:
            had[one.user] += one.size_bytes
            queue.over(one)
    assert 0.8 < had[User.READ_AHEAD] / had[User.FORWARD] < 1.25


def test_one_that_comes_back_is_not_owed_what_it_did_not_ask_for() -> None:
    queue = turns()
    for _ in range(10):
        queue.ask(claim(Urgency.BULK, WINDOW, User.READ_AHEAD))
        (begun,) = begin_all(queue)
        queue.over(begun)
    for user in (User.READ_AHEAD, User.FORWARD) * 3:
        queue.ask(claim(Urgency.BULK, WINDOW, user))
    order = []
    for _ in range(6):
        (begun,) = begin_all(queue)
        order.append(begun.user)
        queue.over(begun)
    assert order.count(User.FORWARD) == 3
    assert order[:2] != [User.FORWARD] * 2 or order[2:4] != [User.FORWARD] * 2


def test_one_that_comes_while_somebody_urgent_reads_is_not_owed_the_past_either() -> None:
    queue = turns()
    for _ in range(10):
        queue.ask(claim(Urgency.BULK, WINDOW, User.EXPORT))
        (begun,) = begin_all(queue)
        queue.over(begun)
    urgent = claim(Urgency.STAT)
    queue.ask(urgent)
    begin_all(queue)
    for user in (User.READ_AHEAD, User.EXPORT) * 3:
        queue.ask(claim(Urgency.BULK, WINDOW, user))
    queue.over(urgent)
    order = []
    for _ in range(4):
        (begun,) = begin_all(queue)
        order.append(begun.user)
        queue.over(begun)
    assert order.count(User.EXPORT) == 2


def test_room_is_given_on_as_bytes_pass() -> None:
    queue = turns()
    first, second = claim(Urgency.BULK, 80), claim(Urgency.BULK, 80)
    queue.ask(first)
    queue.ask(second)
    assert begin_all(queue) == [first]
    queue.moved(first, 59)
    assert begin_all(queue) == []
    queue.moved(first, 1)
    assert begin_all(queue) == [second], "asked for before the one before it has ended"


def test_beside_an_urgent_transfer_goes_what_it_leaves_room_for() -> None:
    queue = turns()
    urgent, routine, bulk = claim(Urgency.STAT, 150), claim(Urgency.ROUTINE, 30), claim(Urgency.BULK, 30)
    for one in (bulk, routine, urgent):
        queue.ask(one)
    assert begin_all(queue) == [urgent]
    queue.moved(urgent, 79)
    assert begin_all(queue) == [], "not even what may go beyond what fits"
    queue.moved(urgent, 1)
    assert begin_all(queue) == [routine], "its bytes come after those that are left of the urgent one"
    queue.over(urgent)
    assert begin_all(queue) == [bulk]


def test_directions_do_not_wait_for_each_other_but_urgency_holds_for_both() -> None:
    queue = turns()
    down, up = claim(Urgency.BULK, WINDOW), claim(Urgency.BULK, WINDOW, User.FORWARD, Direction.UP)
    blocked = claim(Urgency.BULK, WINDOW)
    for one in (down, blocked, up):
        queue.ask(one)
    assert begin_all(queue) == [down, up]
    urgent, more = claim(Urgency.STAT), claim(Urgency.BULK, 1, User.FORWARD, Direction.UP)
    queue.ask(more)
    queue.ask(urgent)
    assert begin_all(queue) == [urgent]
    for one in (down, up):
        queue.over(one)
    assert begin_all(queue) == []
    queue.over(urgent)
    assert set(begin_all(queue)) == {blocked, more}


def test_a_claim_that_is_raised_begins_at_once() -> None:
    queue = turns()
    first, second = claim(Urgency.BULK, WINDOW), claim(Urgency.BULK, WINDOW)
    queue.ask(first)
    queue.ask(second)
    assert begin_all(queue) == [first]
    second.urgency = Urgency.ACTIVE
    assert begin_all(queue) == [second]


def test_connections_are_bounded() -> None:
    queue = turns()
    for _ in range(OTHERS_AT_ONCE + 5):
        queue.ask(claim(Urgency.ROUTINE, 1))
    assert len(begin_all(queue)) == OTHERS_AT_ONCE
    for urgency in (Urgency.ACTIVE, Urgency.STAT):
        for _ in range(STAT_AT_ONCE):
            queue.ask(claim(urgency))
        begin_all(queue)
    assert queue.open == OTHERS_AT_ONCE + STAT_AT_ONCE
