"""C-GET: what is proposed, and what becomes of what comes."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pydicom
import pytest

from nearframe.dimse.association import Message
from nearframe.dimse.command import CommandField, Field
from nearframe.dimse.negotiation import MAX_CONTEXTS
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.scu import UNCOMPRESSED, Peer
from nearframe.dimse.scu_get import Folder, contexts_for, get
from nearframe.dimse.scu_query import Level, Retrieved, identifier_of
from nearframe.dimse.status import Status
from tests.unit.dimse.serving import serving
from tests.unit.dimse.test_association import CT
from tests.unit.dimse.test_scu_files import data_set

STUDY = identifier_of({"StudyInstanceUID": "1.2.3"}, Level.STUDY)


@pytest.mark.parametrize("classes", [[], [CT], [f"1.2.{number}" for number in range(20)], ["1.2"] * 500])
def test_one_association_can_carry_it(classes: list[str]) -> None:
    contexts = contexts_for(classes)
    assert 0 < len(contexts) < MAX_CONTEXTS
    assert all(len(syntaxes) <= 50 for _, syntaxes in contexts)  # DCMTK gives up over more
    assert {uid for uid, _ in contexts} >= set(classes)


class Sender:
    """Sends two objects back, and says so."""

    statuses: list[int]

    async def get(self, session: Session, message: Message) -> Rest:
        await message.whole()
        return self._send(session, message)

    async def _send(self, session: Session, message: Message) -> None:
        self.statuses = []
        context = session.requests.context(CT, UNCOMPRESSED[0])
        for uid in ("1.2.1", "1.2.2"):
            self.statuses.append((await session.requests.store(context, uid, data_set(uid))).status)
            counts = {Field.REMAINING_SUBOPERATIONS: 2 - len(self.statuses)}
            await session.association.send(message.context, message.command.answer(Status.PENDING, counts))
        completed = {Field.COMPLETED_SUBOPERATIONS: self.statuses.count(0)}
        await session.association.send(message.context, message.command.answer(Status.SUCCESS, completed))


async def steps_of(peer: Peer, folder: Folder) -> list[Retrieved]:
    async with aclosing(get(peer, Level.STUDY, STUDY, folder, [CT])) as steps:
        return [step async for step in steps]


async def test_objects_become_numbered_files(tmp_path: Path) -> None:
    (tmp_path / "00001.dcm").write_bytes(b"of an earlier run")
    async with serving(CommandField.C_GET_RQ, Sender().get) as peer:
        folder = Folder(tmp_path)
        *_, last = await steps_of(peer, folder)
    assert (last.is_over, last.status, last.completed, folder.files) == (True, Status.SUCCESS, 2, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00001.dcm", "00002.dcm", "00003.dcm"]
    assert (tmp_path / "00001.dcm").read_bytes() == b"of an earlier run"
    got = pydicom.dcmread(tmp_path / "00002.dcm")
    assert (got.SOPInstanceUID, got.file_meta.TransferSyntaxUID) == ("1.2.1", UNCOMPRESSED[0])
    assert (tmp_path / "00003.dcm").read_bytes().endswith(data_set("1.2.2"))


async def test_a_folder_that_cannot_be_written_is_told_to_the_peer(tmp_path: Path) -> None:
    sender = Sender()
    async with serving(CommandField.C_GET_RQ, sender.get) as peer:
        folder = Folder(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        await steps_of(peer, folder)
    assert sender.statuses == [Status.OUT_OF_RESOURCES] * 2
    assert folder.files == 0
