"""HL7 as part of an archive: the listener that the settings name, and what it stands on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from nearframe import log
from nearframe.clock import SystemClock
from nearframe.config import Settings
from nearframe.corrections.service import CorrectionService
from nearframe.dimse.tls import Credentials
from nearframe.errors import ConfigurationError, UnacceptableMessage
from nearframe.hl7.adt import CHANGES, MERGES, UPDATES, PatientUpdates
from nearframe.hl7.charset import codec_of
from nearframe.hl7.known import Senders, read_authorities, read_senders
from nearframe.hl7.mllp import Frame
from nearframe.hl7.orders import EVENTS as ORDERS
from nearframe.hl7.orders import OrderTaking
from nearframe.hl7.receiver import Event, Expected, Receiver
from nearframe.hl7.server import Limits, MLLPServer
from nearframe.listener.address import demand_loopback
from nearframe.metrics import Metrics
from nearframe.query.steps import StepService
from nearframe.query.workers import Workers
from nearframe.storage.catalogue.hl7messages import HL7Messages
from nearframe.storage.ports import Catalogue

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """What messages change, and where they are remembered."""

    catalogue: Catalogue
    corrections: CorrectionService
    steps: StepService
    known: HL7Messages


@asynccontextmanager
async def open_hl7(
    settings: Settings, served: Served, metrics: Metrics, announce: Callable[[str], None]
) -> AsyncIterator[None]:
    """Listen for messages, if the settings say where.

    Parameters
    ----------
    announce
        Told where, in words, once that is so.
    """
    if settings.hl7 is None:
        yield
        return
    demand_loopback("--hl7", settings.hl7)
    with settings.reading("hl7_senders"):
        senders = read_senders(settings.hl7_senders)
    receiver = _receiver(settings, served, senders, metrics)
    # One thread: messages take effect one after the other, in the order in which they came.
    thread = Workers("hl7", 1)

    async def take(frame: Frame, address: str) -> list[bytes]:
        return await thread.run(receiver.receive, frame, address)

    tls = Credentials(settings.hl7_tls_cert, settings.hl7_tls_key, settings.hl7_tls_ca)
    server = MLLPServer(
        take,
        senders.may_connect,
        Limits(message_bytes=settings.hl7_max_message_bytes),
        metrics,
        tls.for_listening() if settings.hl7_tls_cert else None,
    )
    await server.start(settings.hl7)
    _log.info("hl7_listening", address=str(server.address))
    announce(f"HL7 at {server.address}{' by TLS' if settings.hl7_tls_cert else ''}")
    try:
        yield
    finally:
        await server.stop()
        thread.close()


def _receiver(settings: Settings, served: Served, senders: Senders, metrics: Metrics) -> Receiver:
    clock = SystemClock()
    with settings.reading("hl7_authorities"):
        authorities = read_authorities(settings.hl7_authorities)
    events = events_of(
        PatientUpdates(served.corrections, served.catalogue, served.steps, authorities, clock),
        OrderTaking(served.steps, authorities),
    )
    expected = Expected(senders, settings.hl7_processing_id[0].upper(), _checked(settings.hl7_character_set))
    return Receiver(events, served.known, expected, settings.tenant, clock, metrics)


def events_of(patients: PatientUpdates, orders: OrderTaking) -> dict[str, Event]:
    """Return what is served."""
    handlers = ((UPDATES, patients.update), (MERGES, patients.merge), (CHANGES, patients.change))
    return {f"ADT^{event}": Event(handle, "patients") for events, handle in handlers for event in events} | {
        event: Event(orders.take, "orders") for event in ORDERS
    }


def _checked(charset: str) -> str:
    try:
        codec_of(charset)
    except UnacceptableMessage as error:
        raise ConfigurationError(f"hl7_character_set: {error}") from error
    return charset
