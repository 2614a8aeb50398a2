"""Commitment by peers that are ours: on the same association, and on one of their own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.association import Message
from nearframe.dimse.command import CommandField, Field
from nearframe.dimse.identifiers import read_identifier, write_identifier
from nearframe.dimse.items import Role
from nearframe.dimse.requests import Requests
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.scp_commitment import STORAGE_COMMITMENT_PUSH
from nearframe.dimse.scu import UNCOMPRESSED, Peer, associate
from nearframe.dimse.scu_commit import Committed, commit
from nearframe.dimse.status import Status
from nearframe.dimse.tls import Credentials
from nearframe.errors import UpstreamError, UpstreamTimeout
from nearframe.listener.devtls import ensure
from nearframe.settingkinds import Address
from tests.unit.dimse.serving import serving

ASKED = [("1.2.840.10008.5.1.4.1.1.2", "1.2.1"), ("1.2.840.10008.5.1.4.1.1.2", "1.2.2")]


class Keeper:
    """Keeps the first of what it is asked for, and says so: here, or on an association of its own."""

    def __init__(self, status: int = Status.SUCCESS, answer_to: Peer | None = None, *, says: bool = True) -> None:
        self._status = status
        self._answer_to = answer_to
        self._says = says

    async def action(self, session: Session, message: Message) -> Rest:
        asked = read_identifier(await message.whole(), message.context.transfer_syntax)
        return self._tell(session, message, asked)

    async def _tell(self, session: Session, message: Message, asked: DICOMJSON) -> None:
        await session.answer(message, self._status)
        if self._answer_to is not None:
            role = Role(STORAGE_COMMITMENT_PUSH, is_scu=False, is_scp=True)
            async with associate(self._answer_to, [(STORAGE_COMMITMENT_PUSH, UNCOMPRESSED)], roles=[role]) as user:
                await _report(user.requests, asked)
        elif self._says:
            await _report(session.requests, asked)


async def _report(requests: Requests, asked: DICOMJSON) -> None:
    kept, lost = asked["00081199"]["Value"]
    lost["00081197"] = {"vr": "US", "Value": [0x0112]}
    told = {"00081195": asked["00081195"], "00081198": {"vr": "SQ", "Value": [lost]}}
    told["00081199"] = {"vr": "SQ", "Value": [kept]}
    context = requests.context(STORAGE_COMMITMENT_PUSH)
    fields: dict[Field, str | int | tuple[int, ...]] = {
        Field.AFFECTED_SOP_INSTANCE_UID: "1.2.840.10008.1.20.1.1",
        Field.EVENT_TYPE_ID: 2,
    }
    data = write_identifier(dict(sorted(told.items())), context.transfer_syntax)
    answer = await requests.ask(context, CommandField.N_EVENT_REPORT_RQ, fields, data)
    assert answer.command.status == Status.SUCCESS


def check(found: Committed) -> None:
    assert found == Committed(("1.2.1",), (("1.2.2", "it has no such instance"),))


async def test_an_answer_on_the_same_association() -> None:
    async with serving(CommandField.N_ACTION_RQ, Keeper().action) as peer:
        check(await commit(peer, ASKED, wait_s=5))


async def test_an_answer_on_an_association_of_the_peers_own(unused_tcp_port: int) -> None:
    us = Peer("127.0.0.1", unused_tcp_port, "CT", "ARCHIVE")
    async with serving(CommandField.N_ACTION_RQ, Keeper(answer_to=us).action) as peer:
        check(await commit(peer, ASKED, wait_s=5, listen=Address("127.0.0.1", unused_tcp_port)))


async def test_an_answer_by_tls(unused_tcp_port: int, tmp_path: Path) -> None:
    made = ensure(tmp_path, datetime.now(UTC))
    own = Credentials(made.files.certificate, made.files.key, made.authority)
    us = Peer("127.0.0.1", unused_tcp_port, "CT", "ARCHIVE", own.for_calling())
    async with serving(CommandField.N_ACTION_RQ, Keeper(answer_to=us).action) as peer:
        address = Address("127.0.0.1", unused_tcp_port)
        check(await commit(peer, ASKED, wait_s=5, listen=address, listen_tls=own.for_listening()))


async def test_a_refusal() -> None:
    async with serving(CommandField.N_ACTION_RQ, Keeper(Status.UNRECOGNIZED_OPERATION, says=False).action) as peer:
        with pytest.raises(UpstreamError, match="does not commit"):
            await commit(peer, ASKED, wait_s=5)


async def test_no_answer() -> None:
    async with serving(CommandField.N_ACTION_RQ, Keeper(says=False).action) as peer:
        async with asyncio.timeout(5):
            with pytest.raises(UpstreamTimeout, match="--listen"):
                await commit(peer, ASKED, wait_s=0.01)
