"""An archive that takes HL7 messages: its receiver alone, or a whole origin with its listener."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from nearframe.app import open_origin
from nearframe.clock import SystemClock
from nearframe.corrections.service import CorrectionService
from nearframe.hl7.adt import PatientUpdates
from nearframe.hl7.known import read_authorities, read_senders
from nearframe.hl7.mllp import Frame, FrameReader, framed
from nearframe.hl7.orders import OrderTaking
from nearframe.hl7.receiver import Expected, Receiver
from nearframe.hl7.service import events_of
from nearframe.query.freshness import Freshness
from nearframe.query.steps import StepService
from nearframe.settingkinds import Address
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.catalogue.hl7messages import HL7Messages
from nearframe.storage.catalogue.steps import Steps
from nearframe.storage.ports import CorrectionRecord, StrayStudy, StudyRef
from nearframe.units import MIB
from tests.hl7messages import segments_of
from tests.integration.edge.nodes import Node as ServedNode
from tests.integration.edge.nodes import serving, settings
from tests.integration.origin.conftest import Node, open_node

HERE = "127.0.0.1"


@dataclass
class Archive:
    """An origin without sockets, and what it says to messages."""

    node: Node
    service: CorrectionService
    steps: StepService
    known: HL7Messages
    receiver: Receiver

    def send(self, data: bytes, frame: Frame | None = None) -> list[dict[str, list[str]]]:
        """Return the acknowledgements of a message."""
        return [segments_of(one) for one in self.receiver.receive(frame or Frame(data), HERE)]

    def code(self, data: bytes) -> str:
        (answer,) = self.send(data)
        return answer["MSA"][1]

    def strays(self) -> list[StrayStudy]:
        return self.service.record.identities.strays("main")

    def made(self) -> list[CorrectionRecord]:
        """Return the corrections, the first one first."""
        return self.service.record.latest("main")[::-1]

    def patients(self, study: str) -> set[tuple[str, str, str]]:
        """Return identifier, issuer and name of the instances in view of a study."""
        found = set()
        for record in self.node.catalogue.list_instances(StudyRef("main", study)):
            ds = pydicom.dcmread(io.BytesIO(self.node.file(record)), stop_before_pixels=True)
            found.add((ds.PatientID, ds.get("IssuerOfPatientID", ""), str(ds.PatientName)))
        return found


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with opened(tmp_path / "home") as archive:
        yield archive


@contextmanager
def opened(home: Path) -> Iterator[Archive]:
    with open_node(home) as node:
        known = HL7Messages(node.catalogue.database)
        corrections = Corrections(node.catalogue)
        service = CorrectionService(node.contents, node.catalogue, corrections, Freshness(), node.metrics)
        authorities = read_authorities([{"authority": "MAIN", "issuers": ["", "Main Hospital"]}])
        steps = StepService(node.catalogue, Steps(node.catalogue.database))
        patients = PatientUpdates(service, node.catalogue, steps, authorities, SystemClock())
        senders = read_senders([{"application": "ADT1"}, {"application": "RIS", "may": ["orders"]}])
        expected = Expected(senders, "P", "UNICODE UTF-8")
        events = events_of(patients, OrderTaking(steps, authorities))
        receiver = Receiver(events, known, expected, "main", SystemClock(), node.metrics)
        yield Archive(node, service, steps, known, receiver)


class Sender:
    """The other side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._frames = FrameReader(MIB)
        self._answers: list[Frame] = []

    async def send(self, data: bytes) -> dict[str, list[str]]:
        """Send a message, and return its acknowledgement."""
        self.writer.write(framed(data))
        return await self.answer()

    async def answer(self) -> dict[str, list[str]]:
        """Return the next acknowledgement."""
        async with asyncio.timeout(20):
            while not self._answers:
                data = await self._reader.read(65536)
                if not data:
                    raise EOFError
                self._answers += self._frames.feed(data)
        return segments_of(self._answers.pop(0).data)

    async def drained(self) -> None:
        """Read what the other side says until it closes."""
        with suppress(ConnectionError):
            while await self._reader.read(65536):
                pass

    async def is_closed(self) -> bool:
        """Return whether the other side closes, having said no more."""
        async with asyncio.timeout(20):
            try:
                return not await self._reader.read(1)
            except ConnectionError:
                return True


@asynccontextmanager
async def connected(port: int, **more: Any) -> AsyncIterator[Sender]:
    reader, writer = await asyncio.open_connection(HERE, port, **more)
    try:
        yield Sender(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def origin(home: Path, **more: Any) -> AsyncIterator[tuple[int, ServedNode]]:
    """A running origin, and the port on which it takes messages."""
    told: list[str] = []
    async with open_origin(settings(home, **({"hl7": Address(HERE, 0)} | more)), told.append) as (app, metrics):
        (line,) = (line for line in told if line.startswith("HL7"))
        async with serving(app, metrics) as node:
            yield int(line.split()[2].rpartition(":")[2]), node
