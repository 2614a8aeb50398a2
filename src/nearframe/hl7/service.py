"""HL7 as part of an archive: the listener that the settings name, and what it stands on.

Messages take effect one after the other, in the order in which they came, or a name that was corrected
would be what it was again. So of the processes of an archive one listens at a time (a duty, `upkeep.duties`);
one that stood still amid a message while another took over writes nothing when it comes back.
"""

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
from nearframe.hl7.known import read_authorities, read_senders
from nearframe.hl7.mllp import Frame
from nearframe.hl7.orders import EVENTS as ORDERS
from nearframe.hl7.orders import OrderTaking
from nearframe.hl7.receiver import Event, Expected, Receiver
from nearframe.hl7.server import Limits, MLLPServer
from nearframe.listener.address import demand_loopback
from nearframe.metrics import Metrics
from nearframe.query.steps import StepService
from nearframe.query.workers import Workers
from nearframe.settingkinds import Address
from nearframe.storage.catalogue import SQLCatalogue
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


class HL7Listener:
    """Listens for messages at an address.

    Parameters
    ----------
    through
        Returns what messages change, by way of a catalogue.
    announce
        Told where it listens, in words, once that is so.

    Raises
    ------
    ConfigurationError
        If a setting cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        address: Address,
        through: Callable[[SQLCatalogue], Served],
        metrics: Metrics,
        announce: Callable[[str], None],
    ) -> None:
        demand_loopback("--hl7", address)
        self._address = address
        self._through = through
        self._metrics = metrics
        self._announce = announce
        self._tenant = settings.tenant
        self._limits = Limits(message_bytes=settings.hl7_max_message_bytes)
        with settings.reading("hl7_senders"):
            self._senders = read_senders(settings.hl7_senders)
        with settings.reading("hl7_authorities"):
            self._authorities = read_authorities(settings.hl7_authorities)
        charset = _checked(settings.hl7_character_set)
        self._expected = Expected(self._senders, settings.hl7_processing_id[0].upper(), charset)
        tls = Credentials(settings.hl7_tls_cert, settings.hl7_tls_key, settings.hl7_tls_ca)
        self._tls = tls.for_listening() if settings.hl7_tls_cert else None

    @asynccontextmanager
    async def listening(self, catalogue: SQLCatalogue) -> AsyncIterator[None]:
        """Take messages, and do what they say through a catalogue.

        Raises
        ------
        ConfigurationError
            If the address is taken.
        """
        receiver = self._receiver(self._through(catalogue))
        thread = Workers("hl7", 1)  # one after the other

        async def take(frame: Frame, address: str) -> list[bytes]:
            return await thread.run(receiver.receive, frame, address)

        server = MLLPServer(take, self._senders.may_connect, self._limits, self._metrics, self._tls)
        await server.start(self._address)
        _log.info("hl7_listening", address=str(server.address))
        self._announce(f"HL7 at {server.address}{' by TLS' if self._tls else ''}")
        try:
            yield
        finally:
            await server.stop()
            thread.close()

    def _receiver(self, served: Served) -> Receiver:
        clock = SystemClock()
        events = events_of(
            PatientUpdates(served.corrections, served.catalogue, served.steps, self._authorities, clock),
            OrderTaking(served.steps, self._authorities),
        )
        return Receiver(events, served.known, self._expected, self._tenant, clock, self._metrics)


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
