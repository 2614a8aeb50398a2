"""What a scanner does besides sending, with whole nodes: commitment, procedure steps, worklist, ends of series."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from nearframe.app import open_origin
from nearframe.clock import ManualClock
from nearframe.config import Settings
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.association import Message
from nearframe.dimse.command import Command, CommandField, Field
from nearframe.dimse.identifiers import read_identifier, text_of, write_identifier
from nearframe.dimse.items import Proposed
from nearframe.dimse.negotiation import Offer
from nearframe.dimse.pdu import AssociateRJ, AssociateRQ
from nearframe.dimse.requests import Answer
from nearframe.dimse.scp import Provider, Rest, Session
from nearframe.dimse.scp_commitment import COMMITMENT_INSTANCE, STORAGE_COMMITMENT_PUSH, retry_after
from nearframe.dimse.scp_step import PERFORMED_STEP
from nearframe.dimse.scp_worklist import MODALITY_WORKLIST_FIND
from nearframe.dimse.scu import UNCOMPRESSED, Peer, User, associate
from nearframe.dimse.server import Admission, DimseServer
from nearframe.dimse.status import Status
from nearframe.edgeapp import open_edge
from nearframe.metrics import SERIES_ENDS, Metrics
from nearframe.origin.activity import QUIET_S, Activity
from nearframe.settingkinds import Address
from nearframe.storage.catalogue import open_catalogue
from nearframe.storage.catalogue.commitments import Commitment, CommitmentKey, Commitments
from nearframe.units import MIB
from tests.integration.edge.nodes import origin_node, until
from tests.integration.origin.test_ingest import packaged

CT = packaged("CT_small.dcm")
CT_CLASS, CT_UID = "1.2.840.10008.5.1.4.1.1.2", "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
CT_SERIES = "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322"
CONTEXTS = [
    (CT_CLASS, UNCOMPRESSED),
    (STORAGE_COMMITMENT_PUSH, UNCOMPRESSED),
    (PERFORMED_STEP, UNCOMPRESSED),
    (MODALITY_WORKLIST_FIND, UNCOMPRESSED),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def uids(*values: str) -> DICOMJSON:
    return {"vr": "UI", "Value": list(values)}


def commitment_of(transaction: str, *instances: str) -> DICOMJSON:
    items = [{"00081150": uids(CT_CLASS), "00081155": uids(instance)} for instance in instances]
    return {"00081195": uids(transaction), "00081199": {"vr": "SQ", "Value": items}}


def data_set_of(file: bytes) -> bytes:
    """Return what follows the file meta information of a file."""
    length = int.from_bytes(file[140:144], "little")
    return file[144 + length :]


@dataclass
class Scanner:
    """Asks, and keeps what it is told of commitments."""

    reports: list[tuple[int, DICOMJSON]] = field(default_factory=list)

    async def report(self, session: Session, message: Message) -> Rest:
        document = read_identifier(await message.whole(), message.context.transfer_syntax)
        self.reports.append((message.command.number(Field.EVENT_TYPE_ID), document))
        return session.answer(message, Status.SUCCESS)

    @asynccontextmanager
    async def connected(self, port: int) -> AsyncIterator[User]:
        peer = Peer("127.0.0.1", port, "NEARFRAME", "CT1")
        async with associate(peer, CONTEXTS, on_request=self.report) as user:
            yield user

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Take reports by associations of the archive's."""
        offer = Offer(_first, may_be_scp=lambda uid: uid == STORAGE_COMMITMENT_PUSH, max_pdu_bytes=16384)
        provider = Provider({CommandField.N_EVENT_REPORT_RQ: self.report})

        def anybody(request: AssociateRQ, address: str, tls: object) -> Admission | AssociateRJ:
            return Admission(offer, provider.serve)

        server = DimseServer(anybody, Metrics(), max_pdu_bytes=16384)
        await server.start(Address("127.0.0.1", 0))
        assert server.address is not None
        try:
            yield server.address.port
        finally:
            await server.stop(grace_s=1)


def _first(proposed: Proposed) -> str:
    return proposed.transfer_syntaxes[0]


async def ask(user: User, kind: CommandField, uid: str, document: DICOMJSON, sop_class: str, **more: int) -> Answer:
    context = user.requests.context(sop_class)
    name = "AFFECTED" if kind is CommandField.N_CREATE_RQ else "REQUESTED"
    fields: dict[Field, Any] = {Field[f"{name}_SOP_CLASS_UID"]: sop_class, Field[f"{name}_SOP_INSTANCE_UID"]: uid}
    fields |= {Field[key]: value for key, value in more.items()}
    return await user.requests.ask(context, kind, fields, write_identifier(document, context.transfer_syntax))


async def ask_commitment(user: User, document: DICOMJSON) -> Command:
    kind, uid = CommandField.N_ACTION_RQ, COMMITMENT_INSTANCE
    return (await ask(user, kind, uid, document, STORAGE_COMMITMENT_PUSH, ACTION_TYPE_ID=1)).command


async def store(user: User) -> None:
    assert (await user.store(CT_CLASS, CT_UID, UNCOMPRESSED[0], data_set_of(CT))).status == Status.SUCCESS


@dataclass
class Site:
    port: int
    client: httpx.AsyncClient
    metrics: Metrics


@asynccontextmanager
async def archive(home: Path, **more: Any) -> AsyncIterator[Site]:
    port = free_port()
    settings = Settings(
        home=home, insecure=True, disk_reserve_bytes=0, renditions=False, dicom=Address("127.0.0.1", port), **more
    )
    async with open_origin(settings) as (app, metrics):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://origin") as client:
            yield Site(port, client, metrics)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with archive(tmp_path / "home") as site:
        yield site


def ended(site: Site, reason: str) -> Callable[[], bool]:
    return lambda: site.metrics.value(SERIES_ENDS, reason=reason) == 1


async def test_a_commitment_is_reported_on_the_same_association(site: Site) -> None:
    scanner = Scanner()
    async with scanner.connected(site.port) as user:
        await store(user)
        assert (await ask_commitment(user, commitment_of("2.25.1", CT_UID))).status == Status.SUCCESS
        await until(lambda: bool(scanner.reports))
        assert (await ask_commitment(user, commitment_of("2.25.2", CT_UID, "1.2.3"))).status == Status.SUCCESS
        await until(lambda: len(scanner.reports) == 2)
    (all_kept, first), (some_failed, second) = scanner.reports
    assert (all_kept, some_failed) == (1, 2)
    assert text_of(first, "00081195") == "2.25.1"
    assert "00081198" not in first
    [failure] = second["00081198"]["Value"]
    assert failure["00081155"]["Value"] == ["1.2.3"]
    assert failure["00081197"]["Value"] == [0x0112]
    await until(ended(site, "commitment"))


async def test_a_commitment_is_reported_to_a_peer_that_has_left(tmp_path: Path) -> None:
    scanner = Scanner()
    async with scanner.listening() as port:
        peer = {"ae_title": "CT1", "host": "127.0.0.1", "port": port}
        async with archive(tmp_path / "home", peers=(peer,)) as site:
            async with scanner.connected(site.port) as user:
                await store(user)
                await ask_commitment(user, commitment_of("2.25.1", CT_UID))
            await until(lambda: bool(scanner.reports))
    assert scanner.reports[0][0] == 1


async def test_what_is_no_request_for_commitment(site: Site) -> None:
    async with Scanner().connected(site.port) as user:
        assert (await ask_commitment(user, {"00081195": uids("2.25.1")})).status == Status.INVALID_ARGUMENT
        kind = CommandField.N_ACTION_RQ
        wrong = await ask(user, kind, "1.2.3", commitment_of("2.25.1", CT_UID), STORAGE_COMMITMENT_PUSH)
        assert wrong.command.status == Status.NO_SUCH_INSTANCE


async def test_a_commitment_by_dicomweb(site: Site) -> None:
    async with Scanner().connected(site.port) as user:
        await store(user)
    path, headers = "/dicomweb/commitment-requests/2.25.7", {"content-type": "application/dicom+json"}
    assert (await site.client.get(path)).status_code == 404
    asked = commitment_of("2.25.7", CT_UID, "1.2.3")
    del asked["00081195"]
    told = await site.client.post(path, json=asked, headers=headers)
    assert told.status_code == 200, told.text
    assert [item["00081155"]["Value"] for item in told.json()["00081199"]["Value"]] == [[CT_UID]]
    assert [item["00081197"]["Value"] for item in told.json()["00081198"]["Value"]] == [[0x0112]]
    assert (await site.client.get(path)).json() == told.json()
    assert (await site.client.post(path, json={}, headers=headers)).status_code == 400


def performed(state: str, *instances: str) -> DICOMJSON:
    references = [{"00081150": uids(CT_CLASS), "00081155": uids(instance)} for instance in instances]
    series = {"0020000E": uids(CT_SERIES), "00081140": {"vr": "SQ", "Value": references}}
    return {
        "00400252": {"vr": "CS", "Value": [state]},
        "00400270": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}}]},
        **({"00400340": {"vr": "SQ", "Value": [series]}} if instances else {}),
    }


async def test_a_performed_step_from_beginning_to_end(site: Site) -> None:
    create, change = CommandField.N_CREATE_RQ, CommandField.N_SET_RQ

    async def status(user: User, kind: CommandField, uid: str, document: DICOMJSON) -> int:
        return (await ask(user, kind, uid, document, PERFORMED_STEP)).command.status

    async with Scanner().connected(site.port) as user:
        assert await status(user, create, "1.2.9", performed("COMPLETED")) == Status.INVALID_ATTRIBUTE_VALUE
        assert await status(user, create, "1.2.9", performed("IN PROGRESS")) == Status.SUCCESS
        assert await status(user, create, "1.2.9", performed("IN PROGRESS")) == Status.DUPLICATE_INSTANCE
        assert await status(user, change, "1.2.8", performed("COMPLETED")) == Status.NO_SUCH_INSTANCE
        assert await status(user, change, "1.2.9", performed("ASLEEP")) == Status.INVALID_ATTRIBUTE_VALUE
        await store(user)
        assert await status(user, change, "1.2.9", performed("COMPLETED", CT_UID)) == Status.SUCCESS
        await until(ended(site, "procedure_step"))
        late = await ask(user, change, "1.2.9", performed("COMPLETED", CT_UID), PERFORMED_STEP)
        assert late.command.status == Status.PROCESSING_FAILURE
        assert late.command.number(Field.ERROR_ID) == 0xA506


ORDER: DICOMJSON = {
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Test^Order"}]},
    "00100020": {"vr": "LO", "Value": ["P-1"]},
    "00400100": {
        "vr": "SQ",
        "Value": [
            {
                "00400009": {"vr": "SH", "Value": ["S1"]},
                "00400002": {"vr": "DA", "Value": ["20261122"]},
                "00400003": {"vr": "TM", "Value": ["0800"]},
                "00080060": {"vr": "CS", "Value": ["CT"]},
            }
        ],
    },
}


async def worklist(user: User, modality: str) -> list[DICOMJSON]:
    step = {"00400009": {"vr": "SH"}, "00080060": {"vr": "CS", "Value": [modality]}}
    keys = {"00100020": {"vr": "LO"}, "0020000D": {"vr": "UI"}, "00400100": {"vr": "SQ", "Value": [step]}}
    context = user.requests.context(MODALITY_WORKLIST_FIND)
    data = write_identifier(keys, context.transfer_syntax)
    answers = [answer async for answer in user.requests.answers(context, CommandField.C_FIND_RQ, {}, data)]
    assert answers[-1].command.status == Status.SUCCESS
    return [read_identifier(answer.data, context.transfer_syntax) for answer in answers[:-1]]


async def test_an_order_is_on_the_worklist_until_it_is_done(site: Site) -> None:
    scheduled = await site.client.post("/api/worklist", json=[ORDER])
    assert scheduled.json() == {"scheduled": ["S1"]}
    async with Scanner().connected(site.port) as user:
        [item] = await worklist(user, "CT")
        assert text_of(item, "00100020") == "P-1"
        assert text_of(item, "0020000D").startswith("2.25.")
        assert await worklist(user, "MR") == []
        await ask(user, CommandField.N_CREATE_RQ, "1.2.9", performed("IN PROGRESS"), PERFORMED_STEP)
        assert [order["state"] for order in (await site.client.get("/api/worklist")).json()] == ["IN PROGRESS"]
        await ask(user, CommandField.N_SET_RQ, "1.2.9", performed("DISCONTINUED"), PERFORMED_STEP)
        assert await worklist(user, "CT") == []
    assert (await site.client.get("/api/worklist?date=20261123")).json() == []
    assert (await site.client.get("/api/worklist?date=today")).status_code == 400
    assert (await site.client.delete("/api/worklist/S1")).status_code == 200
    assert (await site.client.delete("/api/worklist/S1")).status_code == 404


@pytest.mark.parametrize("body", [[{}], ["x"], [{"00100020": {"vr": "LO", "Value": ["P"]}}], 7])
async def test_what_is_no_order(site: Site, body: Any) -> None:
    assert (await site.client.post("/api/worklist", json=body)).status_code == 400
    assert (await site.client.get("/api/worklist")).json() == []


async def test_a_released_association_ends_the_series_for_now(site: Site) -> None:
    async with Scanner().connected(site.port) as user:
        await store(user)
    await until(ended(site, "release"))


async def test_an_edge_takes_in_what_is_sent_to_it_and_forwards_it(tmp_path: Path) -> None:
    async with origin_node(tmp_path / "origin") as origin:
        port = free_port()
        settings = Settings(
            home=tmp_path / "edge", insecure=True, disk_reserve_bytes=0, upstream=(origin.url,),
            dicom=Address("127.0.0.1", port),
        )  # fmt: skip
        async with open_edge(settings) as (_, metrics):
            await _listening(port)
            async with Scanner().connected(port) as user:
                await store(user)
            await until(lambda: metrics.value(SERIES_ENDS, reason="release") == 1)
            async with asyncio.timeout(20):
                while not (await origin.client.get("/dicomweb/instances", params={"SOPInstanceUID": CT_UID})).content:
                    await asyncio.sleep(0.05)


async def _listening(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def test_a_report_that_cannot_be_delivered_is_due_again(tmp_path: Path) -> None:
    peer = {"ae_title": "CT1", "host": "127.0.0.1", "port": free_port()}
    async with archive(tmp_path / "home", peers=(peer,)) as site:
        async with Scanner().connected(site.port) as user:
            await ask_commitment(user, commitment_of("2.25.1", CT_UID))
        catalogue = open_catalogue(tmp_path / "home" / "catalogue.sqlite")
        table = Commitments(catalogue.database)

        def attempts() -> int:
            found = table.find(CommitmentKey("main", "CT1", "2.25.1"))
            return 0 if found is None else found.attempts

        await until(lambda: attempts() == 1)
        assert table.next_due() is not None
        catalogue.close()
    assert [retry_after(attempt).total_seconds() for attempt in (0, 1, 2, 1000)] == [10, 20, 40, 3600]


async def test_who_is_away_keeps_nobody_elses_reports_waiting(tmp_path: Path) -> None:
    called = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal called
        called += 1
        writer.close()

    (tmp_path / "home").mkdir()
    with closing(open_catalogue(tmp_path / "home" / "catalogue.sqlite")) as catalogue:
        table, long_ago = Commitments(catalogue.database), datetime.now(UTC) - timedelta(hours=1)
        for requestor, count in (("AWAY", 50), ("CT1", 1)):
            for number in range(count):
                key = CommitmentKey("main", requestor, f"2.25.{number}")
                at = long_ago + timedelta(seconds=number + (requestor == "CT1") * count * 100)
                table.put(Commitment(key, ((CT_CLASS, CT_UID),), at), at)
    scanner = Scanner()
    async with scanner.listening() as port, await asyncio.start_server(hang_up, "127.0.0.1", 0) as away:
        others = {"ae_title": "AWAY", "host": "127.0.0.1", "port": away.sockets[0].getsockname()[1]}
        peers = (others, {"ae_title": "CT1", "host": "127.0.0.1", "port": port})
        async with archive(tmp_path / "home", peers=peers):
            await until(lambda: bool(scanner.reports))
    assert called == 1


async def test_the_background_waits_while_an_object_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, may_end = ManualClock(), asyncio.Event()
    activity = Activity(clock)
    monkeypatch.setattr("nearframe.app.Activity", lambda: activity)

    async def slowly() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        yield b"no object"
        await may_end.wait()

    async with archive(tmp_path / "home") as site:
        async with Scanner().connected(site.port) as user:
            storing = asyncio.ensure_future(user.store(CT_CLASS, CT_UID, UNCOMPRESSED[0], slowly()))
            await until(activity.is_busy)
            may_end.set()
            assert (await storing).status != Status.SUCCESS
        clock.advance(QUIET_S)
        assert not activity.is_busy()
