"""Requests of ours, and peers that answer too much or too little."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from nearframe.dimse.association import Message
from nearframe.dimse.channel import Timeouts
from nearframe.dimse.command import CommandField
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.scu import UNCOMPRESSED, User, associate
from nearframe.dimse.status import Status
from nearframe.errors import AssociationLost, UpstreamTimeout
from tests.unit.dimse.serving import serving

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
ANSWERS = 100  # more than may wait


async def talkative(session: Session, message: Message) -> Rest:
    """Answer a query many times, each answer with a data set; then once more for each that asks without one."""
    await message.whole()

    async def rest() -> None:
        for _ in range(ANSWERS if message.command.has_data else 0):
            pending = message.command.answer(Status.PENDING, has_data=True)
            await session.association.send(message.context, pending, bytes(100))
        await session.answer(message, Status.SUCCESS)

    return rest()


async def ask(user: User) -> int:
    context = user.requests.context(FIND)
    return (await user.requests.ask(context, CommandField.C_FIND_RQ, {})).command.status


async def test_every_answer_is_given_to_who_takes_its_time() -> None:
    async with serving(CommandField.C_FIND_RQ, talkative) as peer, associate(peer, [(FIND, UNCOMPRESSED)]) as user:
        taken = 0
        async for answer in user.requests.answers(user.requests.context(FIND), CommandField.C_FIND_RQ, {}, b"x"):
            await asyncio.sleep(0.001)
            taken += answer.command.status == Status.PENDING
        assert taken == ANSWERS


async def test_who_wants_no_more_answers_holds_nobody_up() -> None:
    async with serving(CommandField.C_FIND_RQ, talkative) as peer, associate(peer, [(FIND, UNCOMPRESSED)]) as user:
        asking = user.requests.answers(user.requests.context(FIND), CommandField.C_FIND_RQ, {}, b"x")
        async with aclosing(asking) as answers:
            async for _ in answers:
                await asyncio.sleep(0.05)  # the others arrive, and wait for room
                break
        assert await ask(user) == Status.SUCCESS


async def test_who_waits_is_told_that_the_peer_is_gone() -> None:
    async with serving(CommandField.C_FIND_RQ, talkative) as peer:
        with pytest.raises(AssociationLost):
            async with associate(peer, [(FIND, UNCOMPRESSED)]) as user:
                asking = user.requests.answers(user.requests.context(FIND), CommandField.C_FIND_RQ, {}, b"x")
                async with aclosing(asking) as answers:
                    async for _ in answers:
                        await asyncio.sleep(0.05)
                        user.requests.give_up(AssociationLost())


async def test_a_peer_may_be_silent_while_it_is_at_work_and_no_longer() -> None:
    looks = iter([1, 2, 3, 3])  # it works on for two spans, and then no more

    async def silent(session: Session, message: Message) -> Rest:
        async def rest() -> None:
            await asyncio.Event().wait()

        return rest()

    async with serving(CommandField.C_FIND_RQ, silent) as peer:
        with pytest.raises(UpstreamTimeout):
            async with associate(peer, [(FIND, UNCOMPRESSED)], timeouts=Timeouts(answer_s=0.05)) as user:
                context = user.requests.context(FIND)
                async for _ in user.requests.answers(context, CommandField.C_FIND_RQ, {}, None, lambda: next(looks)):
                    pass
    assert list(looks) == []
