"""DICOM's own protocol as one service of a node: what is offered to whom, put together from settings."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from nearframe.config import Settings
from nearframe.context import Context
from nearframe.dicom.transfersyntax import BY_UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from nearframe.dimse.association import Association, Message
from nearframe.dimse.command import CommandField
from nearframe.dimse.items import ContextResult, Proposed
from nearframe.dimse.negotiation import Offer
from nearframe.dimse.pdu import AssociateRJ, AssociateRQ, Rejection
from nearframe.dimse.peers import KnownPeer, callable_peers, read_peers
from nearframe.dimse.scp import Operation, Provider, Rest, Session
from nearframe.dimse.scp_commitment import STORAGE_COMMITMENT_PUSH, Committer
from nearframe.dimse.scp_find import PATIENT_ROOT_FIND, STUDY_ROOT_FIND, Finder
from nearframe.dimse.scp_retrieve import (
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    Retriever,
)
from nearframe.dimse.scp_step import PERFORMED_STEP, StepReporter
from nearframe.dimse.scp_storage import Storage, echo, sender_of
from nearframe.dimse.scp_worklist import MODALITY_WORKLIST_FIND, WorklistFinder
from nearframe.dimse.scu import VERIFICATION, Peer
from nearframe.dimse.server import Admission, DimseServer
from nearframe.dimse.status import Status
from nearframe.dimse.tls import Credentials
from nearframe.intake.ingest import Ingest
from nearframe.intake.serieswatch import SeriesWatch
from nearframe.intake.spool import Spool
from nearframe.metrics import Metrics
from nearframe.query.commitment import CommitmentService
from nearframe.query.freshness import Freshness
from nearframe.query.records import InstanceRecords
from nearframe.query.retrieve_instances import InstanceService
from nearframe.query.search import SearchService
from nearframe.query.steps import StepService
from nearframe.query.workers import Workers
from nearframe.settingkinds import Address
from nearframe.units import KIB

#: Composite objects (PS3.6 Annex A): every Storage SOP Class begins with this, those to come and retired ones too.
_STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
#: Storage SOP Classes elsewhere (PS3.4 Annexes GG, HH, U, X): non-patient objects, and RT treatment delivery.
_OTHER_STORAGE: Final = frozenset(
    f"1.2.840.10008.5.1.4.{suffix}" for suffix in ("34.7", "34.10", "38.1", "39.1", "43.1", "44.1", "45.1")
)
_RIGHT_FOR: Final = {
    PATIENT_ROOT_FIND: "query",
    STUDY_ROOT_FIND: "query",
    MODALITY_WORKLIST_FIND: "query",
    PERFORMED_STEP: "store",
    STORAGE_COMMITMENT_PUSH: "store",
    PATIENT_ROOT_MOVE: "retrieve",
    STUDY_ROOT_MOVE: "retrieve",
    PATIENT_ROOT_GET: "retrieve",
    STUDY_ROOT_GET: "retrieve",
}
_RIGHT_TO: Final = {
    CommandField.C_STORE_RQ: "store",
    CommandField.N_ACTION_RQ: "store",
    CommandField.N_CREATE_RQ: "store",
    CommandField.N_SET_RQ: "store",
    CommandField.C_FIND_RQ: "query",
    CommandField.C_GET_RQ: "retrieve",
    CommandField.C_MOVE_RQ: "retrieve",
}
#: In which contexts what is asked for; C-ECHO harms in none, and of C-STORE `Doorkeeper._why_not` says.
_ASKED_IN: Final = {
    CommandField.C_FIND_RQ: frozenset({PATIENT_ROOT_FIND, STUDY_ROOT_FIND, MODALITY_WORKLIST_FIND}),
    CommandField.C_MOVE_RQ: frozenset({PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE}),
    CommandField.C_GET_RQ: frozenset({PATIENT_ROOT_GET, STUDY_ROOT_GET}),
    CommandField.N_CREATE_RQ: frozenset({PERFORMED_STEP}),
    CommandField.N_SET_RQ: frozenset({PERFORMED_STEP}),
    CommandField.N_ACTION_RQ: frozenset({STORAGE_COMMITMENT_PUSH}),
}
_UNCOMPRESSED: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
#: Of P-DATA-TF: DCMTK sends up to 128 KiB, others as much as they are offered.
_MAX_PDU_BYTES: Final = 256 * KIB
_MAX_WINDOW: Final = 16
#: Titles that are welcome without being configured. PS3.5 would allow any printable character but the backslash.
_USUAL_TITLE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .:@#&+-]*")


#: Who takes an object that a peer sends in place of this node's own storage; None for nobody.
Diverting: TypeAlias = "Callable[[Session, Message], Operation | None]"


def to_nobody(session: Session, message: Message) -> Operation | None:
    """Divert nothing."""
    return None


@dataclass(frozen=True, slots=True)
class Served:
    """What the operations stand on.

    Attributes
    ----------
    spool, ingest
        None where nothing is taken in.
    answering
        Held while an operation is under way.
    diverted
        Says which objects somebody else takes: those that were asked for by C-MOVE.
    """

    search: SearchService
    records: InstanceRecords
    instances: InstanceService
    workers: Workers
    freshness: Freshness
    spool: Spool | None
    ingest: Ingest | None
    series: SeriesWatch
    commitment: CommitmentService
    steps: StepService
    answering: Callable[[], AbstractContextManager[None]] = nullcontext
    diverted: Diverting = to_nobody


class Doorkeeper:
    """Decides who may associate, and what is negotiated with whom.

    Where no peers are configured, every usual title is welcome: for a trial on one machine, which is all that a
    node without access control listens to. Where there are some, nobody else is.
    """

    def __init__(
        self,
        ae_title: str,
        peers: Mapping[str, KnownPeer],
        private_classes: frozenset[str],
        operations: Mapping[CommandField, Operation],
        on_end: Callable[[Association, bool], None],
        answering: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._ae_title = ae_title
        self._peers = peers
        self._private_classes = private_classes
        self._operations = operations
        self._on_end = on_end
        self._answering = answering

    def __call__(self, request: AssociateRQ, address: str, tls: ssl.SSLObject | None) -> Admission | AssociateRJ:
        """Return what a peer may do, or why it may not associate."""
        if request.called_ae_title != self._ae_title:
            return AssociateRJ.of(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED)
        peer = self._peer(request.calling_ae_title)
        if peer is None:
            return _not_recognized("no peer has this title")
        if not peer.may_call_from(address):
            return _not_recognized("the address is in none of the peer's networks")
        if not peer.may_call_as(tls):
            return _not_recognized("the certificate does not have the peer's tls_name")
        receives = {role.sop_class_uid for role in request.user.roles if role.is_scp}
        offer = Offer(
            choose=lambda proposed: self._choose(proposed, peer.may, receives),
            may_be_scp=lambda uid: self._is_storage(uid) and "retrieve" in peer.may,
            max_pdu_bytes=_MAX_PDU_BYTES,
            max_window=_MAX_WINDOW,
        )
        allowed = {kind: run for kind, run in self._operations.items() if _RIGHT_TO.get(kind) in (None, *peer.may)}
        return Admission(offer, partial(self._serve, Provider(allowed, self._why_not, self._answering)))

    async def _serve(self, provider: Provider, association: Association) -> None:
        is_released = False
        try:
            await provider.serve(association)
            is_released = True
        finally:
            self._on_end(association, is_released)

    def _peer(self, title: str) -> KnownPeer | None:
        if self._peers:
            return self._peers.get(title)
        return KnownPeer(title) if _USUAL_TITLE.fullmatch(title) else None

    def _why_not(self, message: Message) -> Status | None:
        """Refuse what was not agreed on: an operation of another service than its context is for, and objects of a
        private class that is not configured, in whichever context they come."""
        asked, agreed = message.command, message.context.abstract_syntax
        if asked.kind is CommandField.C_STORE_RQ:
            if not self._is_storage(agreed):
                return Status.UNRECOGNIZED_OPERATION
            return None if self._is_storage(asked.sop_class_uid) else Status.SOP_CLASS_NOT_SUPPORTED
        expected = _ASKED_IN.get(asked.kind) if asked.kind else None
        return None if expected is None or agreed in expected else Status.UNRECOGNIZED_OPERATION

    def _is_storage(self, uid: str) -> bool:
        return uid.startswith(_STORAGE_ROOT) or uid in _OTHER_STORAGE or uid in self._private_classes

    def _choose(self, proposed: Proposed, may: frozenset[str], receives: set[str]) -> str | ContextResult:
        if proposed.abstract_syntax == VERIFICATION:
            return _first(proposed, _UNCOMPRESSED)
        if self._is_storage(proposed.abstract_syntax):
            # Who retrieves by C-GET proposes storage as well: both rights open it.
            if not may & {"store", "retrieve"}:
                return ContextResult.USER_REJECTION
            return _as_sent(proposed, is_to_receive=proposed.abstract_syntax in receives)
        right = _RIGHT_FOR.get(proposed.abstract_syntax)
        if right is None:
            return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
        return _first(proposed, _UNCOMPRESSED) if right in may else ContextResult.USER_REJECTION


class DicomService:
    """DICOM's own protocol as a node offers it: a server, and what reports by associations of its own."""

    def __init__(self, server: DimseServer, committer: Committer) -> None:
        self.server = server
        self.committer = committer

    async def start(self, address: Address) -> None:
        """Begin to accept; raises as `DimseServer.start`."""
        await self.server.start(address)

    async def stop(self, grace_s: float) -> None:
        """Accept no more, end what is under way within `grace_s`, then stop."""
        await self.server.stop(grace_s)
        await self.committer.stop()


def open_service(
    settings: Settings, served: Served, metrics: Metrics, context_of: Callable[[Session], Context]
) -> DicomService:
    """Put the service together; it listens once it is started.

    Raises
    ------
    ConfigurationError
        If the title, a peer, or a file for TLS, cannot be.
    """
    known, called = read_peers(settings.peers), callable_peers(settings)
    committer = Committer(served.commitment, served.workers, called, settings.ae_title, context_of)
    private = frozenset(settings.private_sop_classes)
    operations = _operations(settings, served, called, committer, context_of)
    doorkeeper = Doorkeeper(
        settings.ae_title, known, private, operations, partial(_ended, served.series), served.answering
    )
    tls = Credentials.of(settings).for_listening() if settings.dicom_tls_cert else None
    return DicomService(DimseServer(doorkeeper, metrics, max_pdu_bytes=_MAX_PDU_BYTES, tls=tls), committer)


def _operations(
    settings: Settings,
    served: Served,
    called: Mapping[str, Peer],
    committer: Committer,
    context_of: Callable[[Session], Context],
) -> dict[CommandField, Operation]:
    studies = Finder(served.search, served.workers, settings.ae_title, context_of)
    worklist = WorklistFinder(served.steps, served.workers, context_of)
    retriever = Retriever(served.search, served.records, served.instances, served.workers, called, context_of)
    steps = StepReporter(served.steps, served.workers, context_of)

    async def find(session: Session, message: Message) -> Rest:
        is_worklist = message.context.abstract_syntax == MODALITY_WORKLIST_FIND
        return await (worklist.find if is_worklist else studies.find)(session, message)

    operations: dict[CommandField, Operation] = {
        CommandField.C_ECHO_RQ: echo,
        CommandField.C_FIND_RQ: find,
        CommandField.C_MOVE_RQ: retriever.move,
        CommandField.C_GET_RQ: retriever.get,
        CommandField.N_CREATE_RQ: steps.create,
        CommandField.N_SET_RQ: steps.set,
        CommandField.N_ACTION_RQ: committer.act,
    }
    if served.spool is not None and served.ingest is not None:
        storage = Storage(served.spool, served.ingest, served.freshness, context_of, served.series)

        async def store(session: Session, message: Message) -> Rest:
            return await (served.diverted(session, message) or storage.store)(session, message)

        operations[CommandField.C_STORE_RQ] = store
    return operations


def _not_recognized(because: str) -> AssociateRJ:
    # A caller is told no more than that, whatever it is: it could find out titles, and from where they may be used.
    return AssociateRJ.of(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED, because=because)


def _ended(series: SeriesWatch, association: Association, is_released: bool) -> None:
    series.left(sender_of(association), is_released=is_released)


def _first(proposed: Proposed, served: tuple[str, ...]) -> str | ContextResult:
    for syntax in served:
        if syntax in proposed.transfer_syntaxes:
            return syntax
    return ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED


def _as_sent(proposed: Proposed, *, is_to_receive: bool) -> str | ContextResult:
    """Return the syntax that the proposer put first, of those we can name.

    Without VRs only if there is no other: what a private element is cannot be told later. Who is to
    receive in this context gets what every object can be given in, if it takes that: few can be encoded
    in whichever it prefers, and this context is all that there is.
    """
    known = [uid for uid in proposed.transfer_syntaxes if uid in BY_UID]
    if is_to_receive and ExplicitVRLittleEndian in known:
        return ExplicitVRLittleEndian
    with_vrs = [uid for uid in known if uid != ImplicitVRLittleEndian]
    return next(iter(with_vrs or known), ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)
