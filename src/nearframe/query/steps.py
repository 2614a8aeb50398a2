"""Procedure steps (PS3.4 Annexes F and K): orders for the worklist, and what scanners report of their work."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Final

from nearframe.clock import Clock, SystemClock
from nearframe.context import Context
from nearframe.dicom.build import build_data_set
from nearframe.dicom.jsonitems import first_item, items_of, text_at
from nearframe.dicom.model import DICOMJSON
from nearframe.errors import Conflict, LimitExceeded, MalformedRequest, MissingIdentifier, NotFound, Refused
from nearframe.query.keys import criteria_of, shown
from nearframe.query.matching import accepts
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.steps import PerformedStep, ScheduledStep, Steps
from nearframe.storage.ports import Catalogue

#: Kind of the event that says a performed step is completed.
EVENT: Final = "procedure_step"
IN_PROGRESS: Final = "IN PROGRESS"
COMPLETED: Final = "COMPLETED"
DISCONTINUED: Final = "DISCONTINUED"

_STATUS: Final = "00400252"
_PERFORMED_SERIES: Final = "00400340"
_REFERENCED_IMAGES: Final = "00081140"
_REFERENCED_OTHERS: Final = "00400220"
_REFERENCED_INSTANCE: Final = "00081155"
_SCHEDULED_ATTRIBUTES: Final = "00400270"
_SCHEDULED: Final = "00400100"
_STEP_ID: Final = "00400009"
_START_DATE: Final = "00400002"
_START_TIME: Final = "00400003"
_MODALITY: Final = "00080060"
_PATIENT_ID: Final = "00100020"
_STUDY: Final = "0020000D"
_MOST_ID_CHARS: Final = 16  # VR SH
_MOST_UID_CHARS: Final = 64
_MOST_ORDERS: Final = 1000
#: What a scanner cannot work without (PS3.4 Table K.6-1), and this node cannot make up.
_NEEDED: Final = ((_STEP_ID, "ScheduledProcedureStepID"), (_START_DATE, "StartDate"), (_MODALITY, "Modality"))


class StepService:
    """Keeps steps. Any thread may call.

    Parameters
    ----------
    on_completed
        Called once a step is completed.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        table: Steps,
        clock: Clock | None = None,
        on_completed: Callable[[], None] = lambda: None,
    ) -> None:
        self._catalogue = catalogue
        self._table = table
        self._clock = clock or SystemClock()
        self._on_completed = on_completed

    def through(self, catalogue: SQLCatalogue) -> StepService:
        """Return this service by another way to its catalogue: a guarded one."""
        other = copy(self)
        other._catalogue = catalogue
        other._table = Steps(catalogue.database)
        return other

    # -- what scanners report --------------------------------------------------------------

    def begin(self, context: Context, uid: str, reported_by: str, attributes: DICOMJSON) -> str:
        """Keep a step that was begun, and return its SOP Instance UID: a new one if none is given.

        Raises
        ------
        MalformedRequest
            If it is not in progress.
        Conflict
            If there is a step of this UID.
        """
        if len(uid) > _MOST_UID_CHARS:
            raise MalformedRequest(f"a UID has at most {_MOST_UID_CHARS} characters")
        if text_at(attributes, _STATUS) != IN_PROGRESS:
            raise MalformedRequest("a step begins IN PROGRESS (Performed Procedure Step Status)")
        step = PerformedStep(uid or _new_uid(), IN_PROGRESS, reported_by, attributes)
        if not self._table.create(context.tenant, step, self._clock.now()):
            raise Conflict("there is a performed procedure step of this UID")
        self._mark(context, step)
        return step.sop_instance_uid

    def change(self, context: Context, uid: str, attributes: DICOMJSON) -> PerformedStep:
        """Change a step that is in progress.

        Raises
        ------
        NotFound
            If there is none of this UID.
        Refused
            If it is over.
        MalformedRequest
            If its new status is none.
        """

        def changed(before: PerformedStep) -> PerformedStep:
            if before.state != IN_PROGRESS:
                raise Refused("Performed Procedure Step Object may no longer be updated")
            state = text_at(attributes, _STATUS) or before.state
            if state not in (IN_PROGRESS, COMPLETED, DISCONTINUED):
                raise MalformedRequest("Performed Procedure Step Status is IN PROGRESS, COMPLETED or DISCONTINUED")
            return replace(before, state=state, attributes={**before.attributes, **attributes})

        step = self._table.change(context.tenant, uid, changed, self._clock.now())
        if step is None:
            raise NotFound("performed procedure step")
        self._mark(context, step)
        if step.state == COMPLETED:
            self._catalogue.announce(EVENT, context.tenant, None, {"step": uid})
            self._on_completed()
        return step

    def _mark(self, context: Context, step: PerformedStep) -> None:
        scheduled = [text_at(item, _STEP_ID) for item in items_of(step.attributes, _SCHEDULED_ATTRIBUTES)]
        if ids := [step_id for step_id in scheduled if step_id]:
            self._table.mark(context.tenant, ids, step.state, self._clock.now())

    # -- orders ----------------------------------------------------------------------------

    def schedule(self, context: Context, orders: Sequence[object], *, state: str | None = "") -> list[str]:
        """Keep orders, each as the data set of a worklist item; return the identifiers of their steps.

        An order of several steps becomes an item for each.

        Parameters
        ----------
        state
            Of all of them; None if those that are there already keep theirs.

        Raises
        ------
        MissingIdentifier
            If a scanner could not work with one.
        MalformedRequest, MalformedDICOM
            If one is no data set.
        """
        if len(orders) > _MOST_ORDERS:
            raise LimitExceeded("orders in one request", _MOST_ORDERS, len(orders))
        steps = [replace(step, state=state or "") for order in orders for step in _steps_of(order)]
        self._table.schedule(context.tenant, steps, self._clock.now(), keeps_states=state is None)
        return [step.step_id for step in steps]

    def finish(self, context: Context, step_ids: Sequence[str], state: str) -> int:
        """Give steps a state that somebody else reports than who performs them; return how many of them are known."""
        return self._table.mark(context.tenant, step_ids, state, self._clock.now())

    def revise(self, context: Context, first_date: str, revised: Callable[[DICOMJSON], DICOMJSON]) -> int:
        """Change the items of steps that are not over, from a day on; return how many were changed.

        Parameters
        ----------
        revised
            Returns what an item is to be, the same for what stays as it is.
        """
        found = [
            replace(step, attributes=after, state="")
            for step in self._table.every_scheduled(context.tenant, first_date)
            if step.state not in (COMPLETED, DISCONTINUED) and (after := revised(step.attributes)) != step.attributes
        ]
        if found:
            self._table.schedule(context.tenant, found, self._clock.now(), keeps_states=True)
        return len(found)

    def steps_of(self, context: Context, is_meant: Callable[[DICOMJSON], bool]) -> list[str]:
        """Return the identifiers of the steps whose items are meant, whatever their state."""
        found = self._table.every_scheduled(context.tenant)
        return [step.step_id for step in found if is_meant(step.attributes)]

    def unschedule(self, context: Context, step_id: str) -> None:
        """Drop a step from the worklist.

        Raises
        ------
        NotFound
            If there is none of this identifier.
        """
        if not self._table.unschedule(context.tenant, step_id):
            raise NotFound("scheduled procedure step")

    def worklist(self, context: Context, keys: DICOMJSON) -> Iterator[DICOMJSON]:
        """Yield the items that match, those of steps that are over left out; of each, what the keys name.

        Raises
        ------
        MalformedRequest
            If a key cannot be one.
        """
        criteria = list(criteria_of(keys))
        first, last = _dates(text_at(first_item(keys, _SCHEDULED), _START_DATE))
        for step in self._table.every_scheduled(context.tenant, first, last):
            if step.state not in (COMPLETED, DISCONTINUED) and all(
                accepts(criterion, step.attributes) for criterion in criteria
            ):
                yield shown(keys, step.attributes)

    def orders(self, context: Context, dates: str = "") -> list[DICOMJSON]:
        """Return the orders of a day, or of a range of days, with the states of their steps."""
        found = self._table.every_scheduled(context.tenant, *_dates(dates))
        return [{"step": step.step_id, "state": step.state, "order": step.attributes} for step in found]


def instances_of(step: PerformedStep) -> frozenset[str]:
    """Return the SOP Instance UIDs that a completed step lists; none while it is not completed."""
    if step.state != COMPLETED:
        return frozenset()
    return frozenset(
        text_at(reference, _REFERENCED_INSTANCE)
        for series in items_of(step.attributes, _PERFORMED_SERIES)
        for tag in (_REFERENCED_IMAGES, _REFERENCED_OTHERS)
        for reference in items_of(series, tag)
    ) - {""}


def _steps_of(order: object) -> Iterator[ScheduledStep]:
    if not isinstance(order, dict) or not all(isinstance(element, dict) for element in order.values()):
        raise MalformedRequest("an order is a data set in DICOM JSON")
    if not text_at(order, _PATIENT_ID):
        raise MissingIdentifier("PatientID")
    items = items_of(order, _SCHEDULED)
    if not items:
        raise MissingIdentifier("ScheduledProcedureStepSequence")
    study = {} if text_at(order, _STUDY) else {_STUDY: {"vr": "UI", "Value": [_new_uid()]}}
    for item in items:
        for tag, keyword in _NEEDED:
            if not text_at(item, tag):
                raise MissingIdentifier(keyword)
        step_id = text_at(item, _STEP_ID)
        if len(step_id) > _MOST_ID_CHARS:
            raise MalformedRequest(f"ScheduledProcedureStepID has at most {_MOST_ID_CHARS} characters")
        attributes = {**order, **study, _SCHEDULED: {"vr": "SQ", "Value": [item]}}
        build_data_set(attributes, implicit_vr=False)  # what cannot be told to a scanner is refused, not kept
        yield ScheduledStep(step_id, text_at(item, _START_DATE), text_at(item, _START_TIME), attributes)


def _dates(text: str) -> tuple[str, str]:
    """Return the first and last day of a date, or of a range of dates."""
    first, dash, last = text.partition("-")
    return (first, last) if dash else (first, first)


def _new_uid() -> str:
    return f"2.25.{uuid.uuid4().int}"
