"""Orders: what is to be done becomes items of the Modality Worklist (IHE RAD-4 and RAD-13; RAD TF-2 Appendix B).

::

    ORM^O01, OMG^O19   PID [PV1] {ORC [TQ1] OBR} [ZDS]         a step for each OBR, a study for the message
    OMI^O23            PID [PV1] {ORC [TQ1] OBR {IPC}}         a step for each IPC

What an order leaves out that a scanner cannot work without is made up of what it does say, always the same
way: a change, a cancellation and the same message once more are about the same step.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from nearframe.context import Context
from nearframe.dicom.attributeedit import read_edit
from nearframe.dicom.describe import derived_uid
from nearframe.dicom.jsonitems import text_at
from nearframe.dicom.model import DICOMJSON
from nearframe.errors import MalformedDICOM, MalformedRequest, UnacceptableMessage
from nearframe.hl7.er7 import Field, Message, Segment
from nearframe.hl7.known import Authorities
from nearframe.hl7.patients import as_attributes, demographics_of, identifiers_of, name_of
from nearframe.query.steps import COMPLETED, DISCONTINUED, IN_PROGRESS, StepService
from nearframe.units import counted

EVENTS: Final = ("ORM^O01", "OMI^O23", "OMG^O19")

#: Order control (HL7 table 0119): what is asked for or reported of an order.
_CANCELS: Final = frozenset({"CA", "OC", "CR", "DC", "OD", "DR"})
_SCHEDULES: Final = frozenset({"NW", "XO", "XX", "XR", "SC", "SN", "RP", "RU", "RO"})
#: Order status (ORC-5, HL7 table 0038) -> state of the step; whatever else is said leaves it as it is.
_STATES: Final = {"IP": IN_PROGRESS, "CM": COMPLETED, "CA": DISCONTINUED, "DC": DISCONTINUED}
#: Priority (TQ-6, TQ1-9, OBR-5; HL7 table 0485) -> Requested Procedure Priority (PS3.3 C.4.11).
_PRIORITIES: Final = {"S": "STAT", "A": "HIGH", "P": "HIGH", "C": "HIGH", "T": "MEDIUM", "R": "ROUTINE"}

#: Date and time to the second, as far as it is said; fractions and the offset of UTC may follow (TS, DTM).
_MOMENT: Final = re.compile(r"([0-9]{8})((?:[0-9]{2}){0,3})")
_UID: Final = re.compile(r"[0-9.]{1,64}")
_MAX_SHORT_CHARS: Final = 16  # VR SH
_PLACER: Final = "00402016"
_FILLER: Final = "00402017"
_STUDY: Final = "0020000D"
_STEPS: Final = "00400100"
_PREGNANT: Final = "B6"
_DEFINITELY_PREGNANT: Final = 3  # Pregnancy Status (PS3.3 C.2.4)


@dataclass
class _Order:
    """The segments of one order: from an ORC to the next."""

    orc: Segment
    obr: Segment | None = None
    tq1: Segment | None = None
    ipcs: list[Segment] = field(default_factory=list)


class OrderTaking:
    """Takes orders. Sync: one thread calls, for one message after the other."""

    def __init__(self, steps: StepService, authorities: Authorities) -> None:
        self._steps = steps
        self._authorities = authorities

    def take(self, ctx: Context, message: Message, reason: str) -> str:
        """Change the worklist as a message says, and say in words what was done.

        Raises
        ------
        UnacceptableMessage
            If the message lacks something, or cannot be read; the worklist is as it was.
        StorageError
            If the catalogue failed.
        """
        orders = list(_orders(message))
        _check_controls(orders)
        # All of it is read before any of it is done.
        read = [(order, [] if _is_cancelled(order) else self._items(order, message)) for order in orders]
        scheduled = cancelled = 0
        for order, items in read:
            if _is_cancelled(order):
                cancelled += self._cancel(ctx, order)
            else:
                scheduled += self._schedule(ctx, order, items)
        return f"{counted(scheduled, 'step')} scheduled, {cancelled} cancelled"

    def _schedule(self, ctx: Context, order: _Order, items: list[DICOMJSON]) -> int:
        # A new order begins; a changed one is as far as whoever performs it has said.
        unsaid = "" if order.orc.text(1).upper() == "NW" else None
        state = _STATES.get(order.orc.text(5).upper(), unsaid)
        try:
            return len(self._steps.schedule(ctx, items, state=state))
        except (MalformedRequest, MalformedDICOM) as error:
            raise order.orc.wrong(102, str(error)) from error

    def _cancel(self, ctx: Context, order: _Order) -> int:
        """Take the steps of an order from the worklist; if there are none, that is what was asked for."""
        named = [step_id for step in _steps(order) if (step_id := step.said_id)]
        numbers = {tag: number for tag, number in _numbers(order).items() if number}
        meant = named or self._steps.steps_of(
            ctx, lambda item: bool(numbers) and all(text_at(item, tag) == number for tag, number in numbers.items())
        )
        return self._steps.finish(ctx, meant, DISCONTINUED) if meant else 0

    def _items(self, order: _Order, message: Message) -> list[DICOMJSON]:
        obr = order.obr
        if obr is None:
            raise order.orc.wrong(100, "no OBR segment follows it")
        common = self._patient(message.only("PID")) | _visit(message) | _imaging_request(order, obr)
        return [_item(common, order, obr, step, message) for step in _steps(order)]

    def _patient(self, pid: Segment) -> dict[str, Any]:
        first = identifiers_of(pid, self._authorities)[0]
        issuer = {"IssuerOfPatientID": first.issuers[0]} if first.issuers[0] else {}
        return {"PatientID": first.id} | issuer | as_attributes(demographics_of(pid))


def _orders(message: Message) -> Iterator[_Order]:
    order: _Order | None = None
    for segment in message.segments:
        if segment.name == "ORC":
            if order is not None:
                yield order
            order = _Order(segment)
        elif order is not None:
            if segment.name == "OBR" and order.obr is not None:
                yield order  # several requests under one ORC
                order = _Order(order.orc, segment, order.tq1)
            elif segment.name == "OBR":
                order.obr = segment
            elif segment.name == "TQ1" and order.tq1 is None:
                order.tq1 = segment
            elif segment.name == "IPC":
                order.ipcs.append(segment)
    if order is None:
        raise UnacceptableMessage(100, "there is no ORC segment", "ORC")
    yield order


def _check_controls(orders: list[_Order]) -> None:
    for order in orders:
        control = order.orc.text(1).upper()
        if not control:
            raise order.orc.wrong(101, "there is no order control", 1)
        if control not in _CANCELS | _SCHEDULES:
            known = ", ".join(sorted(_CANCELS | _SCHEDULES))
            raise order.orc.wrong(103, f"an order control that is none of {known}", 1)


def _is_cancelled(order: _Order) -> bool:
    return order.orc.text(1).upper() in _CANCELS


@dataclass(frozen=True, slots=True)
class _Step:
    """One procedure step of an order, wherever the message says so.

    Attributes
    ----------
    number
        Which one of its order it is, from 1.
    said_id
        Its identifier; empty if the message gives none.
    """

    number: int
    said_id: str
    modality: Field
    code: tuple[str, str, str]
    station_ae_title: str
    station_name: str
    location: str


def _steps(order: _Order) -> list[_Step]:
    if order.ipcs:
        return [
            _Step(
                number, ipc.text(4), ipc.first(5), _code(ipc.first(6)), ipc.text(9), ipc.text(7),
                ipc.text(8, 2) or ipc.text(8),
            )
            for number, ipc in enumerate(order.ipcs, start=1)
        ]  # fmt: skip
    obr = order.obr
    if obr is None:
        return []
    # The procedure as the department knows it stands in components 4 to 6, or alone in 1 to 3.
    service = obr.first(4)
    code = _code(service, 4) if service.text(4) else _code(service)
    return [_Step(1, obr.text(20), obr.first(24), code, order.orc.text(18), "", "")]


def _code(coded: Field, first: int = 1) -> tuple[str, str, str]:
    """Return value, meaning and scheme of a coded element (CE)."""
    return coded.text(first), coded.text(first + 1), coded.text(first + 2)


def _item(common: dict[str, Any], order: _Order, obr: Segment, step: _Step, message: Message) -> DICOMJSON:
    modality, (date, time) = step.modality.text().upper(), _start(order, obr)
    if not modality:
        raise step.modality.wrong(101, "there is no modality")
    _, meaning, _ = step.code
    scheduled = {
        "ScheduledStationAETitle": step.station_ae_title,
        "ScheduledProcedureStepStartDate": date,
        "ScheduledProcedureStepStartTime": time,
        "Modality": modality,
        "ScheduledPerformingPhysicianName": name_of(obr.first(34), within=1),
        "ScheduledProcedureStepDescription": meaning[:64],
        "ScheduledProtocolCodeSequence": _code_items(step.code),
        "ScheduledProcedureStepID": step.said_id or _made_up_id(order, step),
        "ScheduledStationName": step.station_name,
        "ScheduledProcedureStepLocation": step.location,
        "ScheduledProcedureStepStatus": "STARTED" if order.orc.text(5).upper() == "IP" else "SCHEDULED",
    }
    try:
        item = read_edit(common | {"ScheduledProcedureStepSequence": [scheduled]}).set
    except MalformedRequest as error:
        raise obr.wrong(102, str(error)) from error
    uid = _study_uid(order, step, message) or derived_uid("study", f"order {_key(order)}")
    return item | {_STUDY: {"vr": "UI", "Value": [uid]}}


def _start(order: _Order, obr: Segment) -> tuple[str, str]:
    """Return date and time at which a step begins."""
    places = [order.orc.first(7), obr.first(27)]  # TQ, whose fourth component it is
    found = order.tq1.text(7) if order.tq1 is not None else ""
    found = found or next((text for place in places if (text := place.text(4))), "") or obr.text(36)
    if not found:
        raise (order.tq1.wrong(101, _NO_START, 7) if order.tq1 is not None else order.orc.wrong(101, _NO_START, 7))
    moment = _MOMENT.match(found)
    if moment is None:
        raise order.orc.wrong(102, "no date and time at which the step begins: YYYYMMDDHHMM", 7)
    return moment[1], moment[2]


_NO_START: Final = "there is no date at which the step begins"


def _imaging_request(order: _Order, obr: Segment) -> dict[str, Any]:
    numbers = _numbers(order)
    accession = _accession(order, obr)
    procedure = _code(obr.first(44)) if obr.text(44) else _code(obr.first(4))
    reason = obr.text(31, 2) or obr.text(31)
    priority = _priority(order, obr)
    return {
        "AccessionNumber": accession,
        "PlacerOrderNumberImagingServiceRequest": numbers[_PLACER],
        "FillerOrderNumberImagingServiceRequest": numbers[_FILLER],
        "RequestedProcedureID": _requested_procedure_id(order, obr) or accession,
        "RequestedProcedureDescription": procedure[1][:64],
        "RequestedProcedureCodeSequence": _code_items(procedure),
        "RequestedProcedurePriority": priority,
        "ReasonForTheRequestedProcedure": reason[:64],
        "RequestingPhysician": name_of(obr.first(16)) or name_of(order.orc.first(12)),
        "PatientTransportArrangements": obr.text(30)[:64],
        "PatientState": (obr.text(12, 2) or obr.text(12))[:64],
    }


def _visit(message: Message) -> dict[str, Any]:
    pv1, pid = next(message.every("PV1"), None), message.only("PID")
    if pv1 is None:
        return {"AdmissionID": pid.text(18)}
    is_pregnant = any(status.text().upper() == _PREGNANT for status in pv1.repetitions(15))
    return {
        "ReferringPhysicianName": name_of(pv1.first(8)),
        "AdmissionID": pv1.text(19) or pid.text(18),
    } | ({"PregnancyStatus": [_DEFINITELY_PREGNANT]} if is_pregnant else {})


def _numbers(order: _Order) -> dict[str, str]:
    """Return the numbers of an order by those who place and fill it, by tag."""
    found = {}
    for tag, number in ((_PLACER, 2), (_FILLER, 3)):
        place = order.orc.first(number)
        if not place.text() and order.obr is not None:
            place = order.obr.first(number)
        found[tag] = "^".join(filter(None, (place.text(1), place.text(2))))
    return found


def _accession(order: _Order, obr: Segment) -> str:
    accession = order.ipcs[0].text(1) if order.ipcs else obr.text(18)
    filler = _numbers(order)[_FILLER].partition("^")[0]
    return accession or (filler if len(filler) <= _MAX_SHORT_CHARS else "")


def _requested_procedure_id(order: _Order, obr: Segment) -> str:
    return order.ipcs[0].text(2) if order.ipcs else obr.text(19)


def _priority(order: _Order, obr: Segment) -> str:
    said = order.tq1.text(9) if order.tq1 is not None else ""
    said = said or order.orc.text(7, 6) or obr.text(27, 6) or obr.text(5)
    return _PRIORITIES.get(said[:1].upper(), "")


def _study_uid(order: _Order, step: _Step, message: Message) -> str:
    """Return the study that the images are to be filed in; empty if the message does not say."""
    segment = order.ipcs[step.number - 1] if order.ipcs else next(message.every("ZDS"), None)
    if segment is None:
        return ""
    field = segment.first(3 if order.ipcs else 1)
    uid = field.text()
    if uid and not _UID.fullmatch(uid):
        raise field.wrong(102, "no Study Instance UID: at most 64 digits and dots")
    return uid


def _code_items(code: tuple[str, str, str]) -> list[dict[str, str]]:
    value, meaning, scheme = code
    if not value or len(value) > _MAX_SHORT_CHARS:
        return []
    named = {"CodeMeaning": meaning[:64] or value}
    return [{"CodeValue": value, "CodingSchemeDesignator": scheme[:_MAX_SHORT_CHARS] or "L", **named}]


def _key(order: _Order) -> str:
    """Return what tells an order from others, as far as it says."""
    numbers = _numbers(order)
    accession = _accession(order, order.obr) if order.obr is not None else ""
    return "|".join((accession, numbers[_FILLER], numbers[_PLACER]))


def _made_up_id(order: _Order, step: _Step) -> str:
    number = order.obr.text(1) if order.obr is not None else ""
    digest = hashlib.sha256(f"{_key(order)}|{number}|{step.number}".encode()).digest()
    return "N" + base64.b32encode(digest).decode()[: _MAX_SHORT_CHARS - 1]
