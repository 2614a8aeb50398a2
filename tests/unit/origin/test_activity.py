"""When the background may work: not while clients are answered, and not between two of their requests."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from nearframe.clock import ManualClock
from nearframe.origin.activity import QUIET_S, Activity


async def _receive() -> dict[str, str]:
    return {"type": "http.request"}


async def _send(message: object) -> None:
    return None


async def test_busy_while_answering_and_until_it_has_been_quiet() -> None:
    clock = ManualClock()
    activity = Activity(clock)
    seen: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(activity.is_busy())

    assert not activity.is_busy()
    await activity.watch(app)({"type": "http"}, _receive, _send)
    assert seen == [True]
    assert activity.is_busy()
    clock.advance(QUIET_S)
    assert not activity.is_busy()


async def test_busy_while_anything_else_is_answered() -> None:
    clock = ManualClock()
    activity = Activity(clock)
    with activity.answering(), activity.answering():
        clock.advance(QUIET_S)
        assert activity.is_busy()
    clock.advance(QUIET_S)
    assert not activity.is_busy()


async def test_a_request_that_fails_ends_too() -> None:
    clock = ManualClock()
    activity = Activity(clock)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    try:
        await activity.watch(app)({"type": "http"}, _receive, _send)
    except RuntimeError:
        clock.advance(QUIET_S)
    assert not activity.is_busy()
