"""Procedure steps: those that are to be done, and what scanners report of those they do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from nearframe.dicom.model import DICOMJSON
from nearframe.errors import Busy, LimitExceeded
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.attributes import dump
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.room import Room, Rows
from nearframe.storage.catalogue.values import microseconds
from nearframe.units import MIB

_performed, _scheduled = schema.performed_step.c, schema.scheduled_step.c
_PAGE: Final = 500
#: Of one performed step: a thousand series with a line for each image stay below it.
MAX_STEP_BYTES: Final = 4 * MIB
#: A step of which nothing was heard for so long is over, whatever it says.
_ABANDONED: Final = timedelta(days=30)
_OVER: Final = ("COMPLETED", "DISCONTINUED")


@dataclass(frozen=True, slots=True)
class PerformedStep:
    """A Modality Performed Procedure Step.

    Attributes
    ----------
    state
        ``IN PROGRESS``, ``COMPLETED`` or ``DISCONTINUED``.
    reported_by
        Application entity title.
    """

    sop_instance_uid: str
    state: str
    reported_by: str
    attributes: DICOMJSON


@dataclass(frozen=True, slots=True)
class ScheduledStep:
    """An item of the worklist.

    Attributes
    ----------
    start_date, start_time
        As in DICOM; empty if they are not known.
    state
        Of the performed step that answers it, empty before there is one.
    """

    step_id: str
    start_date: str
    start_time: str
    attributes: DICOMJSON
    state: str = ""


class Steps:
    """The steps of a catalogue. Any thread may call; every change is durable when its call returns.

    Parameters
    ----------
    room
        For the performed steps of one tenant; each who reports them has half of it.
    """

    def __init__(self, database: Database, room: Room | None = None) -> None:
        self._database = database
        self._room = room or Room()

    # -- performed -------------------------------------------------------------------------

    def create(self, tenant: str, step: PerformedStep, now: datetime) -> bool:
        """Keep a new step; False if there is one of its UID.

        Raises
        ------
        LimitExceeded
            If it is larger than a step may be.
        Busy
            If there is no room, and each that there is goes on.
        """
        with self._database.write() as connection:
            if connection.execute(_performed_step(tenant, step.sop_instance_uid)).first() is not None:
                return False
            values = {"tenant": tenant, "sop_instance_uid": step.sop_instance_uid} | _values(step, now)
            self._make_room(connection, tenant, step.reported_by, len(values["attributes"]), now)
            connection.execute(sa.insert(schema.performed_step).values(values))
        return True

    def change(
        self, tenant: str, uid: str, changed: Callable[[PerformedStep], PerformedStep], now: datetime
    ) -> PerformedStep | None:
        """Change a step, alone until that is done; None if there is none of this UID.

        Parameters
        ----------
        changed
            Returns what it is to be; what it raises leaves the step as it was.

        Raises
        ------
        LimitExceeded, Busy
            As `create`, and the step is as it was.
        """
        with self._database.write() as connection:
            row = connection.execute(_performed_step(tenant, uid)).first()
            if row is None:
                return None
            step = changed(_read_performed(row))
            values = _values(step, now)
            # Taken out and put in anew: what it had is room, and it cannot be what goes to make some.
            chosen = sa.and_(_performed.tenant == tenant, _performed.sop_instance_uid == uid)
            connection.execute(sa.delete(schema.performed_step).where(chosen))
            self._make_room(connection, tenant, step.reported_by, len(values["attributes"]), now)
            names = {"tenant": tenant, "sop_instance_uid": uid}
            connection.execute(sa.insert(schema.performed_step).values(names | values))
        return step

    def performed(self, tenant: str, uid: str) -> PerformedStep | None:
        """Return a step, None if there is none of this UID."""
        with self._database.read() as connection:
            row = connection.execute(_performed_step(tenant, uid)).first()
        return None if row is None else _read_performed(row)

    def _make_room(
        self, connection: sa.Connection, tenant: str, reported_by: str, adding_bytes: int, now: datetime
    ) -> None:
        over = sa.or_(_performed.state.in_(_OVER), _performed.changed_at < microseconds(now - _ABANDONED))
        of_tenant = _performed.tenant == tenant
        of_reporter = sa.and_(of_tenant, _performed.reported_by == reported_by)
        for chosen, room in ((of_reporter, self._room.half), (of_tenant, self._room)):
            rows = Rows(schema.performed_step, _performed.attributes, _performed.changed_at, chosen, over)
            if not rows.make_room(connection, adding_bytes, room):
                raise Busy("too many performed procedure steps are in progress")

    # -- scheduled -------------------------------------------------------------------------

    def schedule(
        self, tenant: str, steps: Sequence[ScheduledStep], now: datetime, *, keeps_states: bool = False
    ) -> None:
        """Keep items of the worklist; one that is there already is replaced.

        Parameters
        ----------
        keeps_states
            True if an item that says no state has the one that it had.
        """
        with self._database.write() as connection:
            for step in steps:
                chosen = sa.and_(_scheduled.tenant == tenant, _scheduled.step_id == step.step_id)
                state = step.state
                if keeps_states and not state:
                    state = connection.execute(sa.select(_scheduled.state).where(chosen)).scalar() or ""
                connection.execute(sa.delete(schema.scheduled_step).where(chosen))
                values = {
                    "tenant": tenant,
                    "step_id": step.step_id,
                    "start_date": step.start_date,
                    "start_time": step.start_time,
                    "state": state,
                    "changed_at": microseconds(now),
                    "attributes": dump(step.attributes),
                }
                connection.execute(sa.insert(schema.scheduled_step).values(values))

    def mark(self, tenant: str, step_ids: Sequence[str], state: str, now: datetime) -> int:
        """Give items of the worklist the state of what was performed for them; return how many there are."""
        chosen = sa.and_(_scheduled.tenant == tenant, _scheduled.step_id.in_(step_ids))
        with self._database.write() as connection:
            statement = sa.update(schema.scheduled_step).where(chosen)
            return connection.execute(statement.values(state=state, changed_at=microseconds(now))).rowcount

    def unschedule(self, tenant: str, step_id: str) -> bool:
        """Drop an item of the worklist; False if there is none of this identifier."""
        chosen = sa.and_(_scheduled.tenant == tenant, _scheduled.step_id == step_id)
        with self._database.write() as connection:
            return connection.execute(sa.delete(schema.scheduled_step).where(chosen)).rowcount > 0

    def scheduled(
        self, tenant: str, first_date: str = "", last_date: str = "", after: tuple[str, str, str] = ("", "", "")
    ) -> list[ScheduledStep]:
        """Return a page of the worklist, in the order of their beginnings.

        Parameters
        ----------
        first_date, last_date
            Between which they begin, both included; empty for any.
        after
            Date, time and identifier of the last item of the page before.
        """
        order = (_scheduled.start_date, _scheduled.start_time, _scheduled.step_id)
        statement = sa.select(schema.scheduled_step).where(_scheduled.tenant == tenant)
        if first_date:
            statement = statement.where(_scheduled.start_date >= first_date)
        if last_date:
            statement = statement.where(_scheduled.start_date <= last_date)
        if any(after):
            statement = statement.where(sa.tuple_(*order) > sa.tuple_(*(sa.literal(value) for value in after)))
        with self._database.read() as connection:
            return [_read_scheduled(row) for row in connection.execute(statement.order_by(*order).limit(_PAGE))]

    def every_scheduled(self, tenant: str, first_date: str = "", last_date: str = "") -> Iterator[ScheduledStep]:
        """Yield the worklist, page by page."""
        after = ("", "", "")
        while page := self.scheduled(tenant, first_date, last_date, after):
            yield from page
            after = (page[-1].start_date, page[-1].start_time, page[-1].step_id)


def _performed_step(tenant: str, uid: str) -> sa.Select[Any]:
    chosen = sa.and_(_performed.tenant == tenant, _performed.sop_instance_uid == uid)
    return sa.select(schema.performed_step).where(chosen)


def _values(step: PerformedStep, now: datetime) -> dict[str, Any]:
    attributes = dump(step.attributes)
    if len(attributes) > MAX_STEP_BYTES:
        raise LimitExceeded("bytes of a performed procedure step", MAX_STEP_BYTES, len(attributes))
    return {
        "state": step.state,
        "reported_by": step.reported_by,
        "changed_at": microseconds(now),
        "attributes": attributes,
    }


def _read_performed(row: Any) -> PerformedStep:
    return PerformedStep(row.sop_instance_uid, row.state, row.reported_by, json.loads(row.attributes))


def _read_scheduled(row: Any) -> ScheduledStep:
    return ScheduledStep(row.step_id, row.start_date, row.start_time, json.loads(row.attributes), row.state)
