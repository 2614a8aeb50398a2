"""The user's side of queries and retrieval (PS3.4 Annexes C and K): C-FIND, C-MOVE and C-GET."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from nearframe.dicom.dictionary import public_vr, tag_of
from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.vr import NUMERIC
from nearframe.dimse import words
from nearframe.dimse.command import Command, CommandField, Field, Priority, Value
from nearframe.dimse.identifiers import QUERY_RETRIEVE_LEVEL, read_identifier, write_identifier
from nearframe.dimse.requests import Answer, Requests
from nearframe.dimse.scp_find import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from nearframe.dimse.scp_retrieve import PATIENT_ROOT_GET, PATIENT_ROOT_MOVE, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from nearframe.dimse.status import Status
from nearframe.errors import MalformedRequest, RequestError, UpstreamError
from nearframe.units import MIB

_FAILED_LIST: Final = "00080058"
#: Of all answers to a query that nobody watches: the instances of a study of 50 000 stay below it.
_MOST_ANSWERED_BYTES: Final = 16 * MIB
_LONGEST_QUERY_S: Final = 300.0


class Level(StrEnum):
    """Query/Retrieve Level (PS3.4 section C.6)."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    IMAGE = "image"

    @property
    def find_model(self) -> str:
        """The information model in which it is asked for: the study root, where that has it."""
        return PATIENT_ROOT_FIND if self is Level.PATIENT else STUDY_ROOT_FIND

    @property
    def move_model(self) -> str:
        return PATIENT_ROOT_MOVE if self is Level.PATIENT else STUDY_ROOT_MOVE

    @property
    def get_model(self) -> str:
        return PATIENT_ROOT_GET if self is Level.PATIENT else STUDY_ROOT_GET


@dataclass(frozen=True, slots=True)
class Retrieved:
    """How far a retrieval is, or how it ended.

    Attributes
    ----------
    remaining
        None where the peer does not say.
    failed_uids
        What the peer names as not sent, in the last answer.
    is_over
        True in the last answer; `status` then says how it went.
    """

    status: int
    said: str
    remaining: int | None
    completed: int
    failed: int
    warnings: int
    failed_uids: tuple[str, ...] = ()
    is_over: bool = False


def identifier_of(keys: Mapping[str, str], level: Level | None = None) -> DICOMJSON:
    """Return the identifier of a query.

    Parameters
    ----------
    keys
        Values by keyword, tag (``00100010``), or a path of those with dots between; an empty value asks
        for the attribute, whatever it is.

    Raises
    ------
    MalformedRequest
        If there is no such attribute.
    """
    identifier: DICOMJSON = {}
    for name, value in keys.items():
        *sequences, last = [_tag(name, part) for part in name.split(".")]
        place = identifier
        for tag in sequences:
            if public_vr(int(tag, 16)) != "SQ":
                raise MalformedRequest(f"{name}: what is before a dot is no sequence")
            place = place.setdefault(tag, {"vr": "SQ", "Value": [{}]})["Value"][0]
        place[last] = _element(name, last, value)
    if level is not None:
        identifier[QUERY_RETRIEVE_LEVEL] = {"vr": "CS", "Value": [level.value.upper()]}
    return dict(sorted(identifier.items()))


async def find(
    requests: Requests, model: str, identifier: DICOMJSON, *, by_hand: bool = False
) -> AsyncGenerator[DICOMJSON, None]:
    """Yield what matches; who closes this early has the rest cancelled.

    Parameters
    ----------
    by_hand
        True where a person asks and sees what comes: then it may take as long as it takes, and an error repeats
        what the peer itself says. That may be about a patient: it is not for what is logged.

    Raises
    ------
    NotAcceptable
        If the peer does not answer queries of this model.
    UpstreamError
        If it answers with a failure, with what cannot be read, or without end.
    """
    context = requests.context(model)
    fields: dict[Field, Value] = {Field.PRIORITY: Priority.MEDIUM}
    data = write_identifier(identifier, context.transfer_syntax)
    began_s, answered_bytes = time.monotonic(), 0
    async with aclosing(requests.answers(context, CommandField.C_FIND_RQ, fields, data)) as answers:
        async for answer in answers:
            status = answer.command.status
            answered_bytes += len(answer.data)
            if status & 0xFF00 == Status.PENDING:
                is_endless = answered_bytes > _MOST_ANSWERED_BYTES or time.monotonic() - began_s > _LONGEST_QUERY_S
                if is_endless and not by_hand:
                    raise UpstreamError("the DICOM peer answers a query without end")
                yield _read(answer)
            elif status != Status.SUCCESS:
                said = words.answer(answer.command) if by_hand else words.status_and_code(status)
                raise UpstreamError(f"the query failed: {said}")


async def retrieve(
    requests: Requests,
    model: str,
    identifier: DICOMJSON,
    destination: str = "",
    progress: Callable[[], int] | None = None,
) -> AsyncGenerator[Retrieved, None]:
    """Have instances sent, and yield how far it is; the last says how it ended.

    Parameters
    ----------
    destination
        The AE title to send to (C-MOVE); empty to have them sent on this association (C-GET).
    progress
        As of `Requests.answers`.
    """
    context = requests.context(model)
    kind = CommandField.C_MOVE_RQ if destination else CommandField.C_GET_RQ
    fields: dict[Field, Value] = {Field.PRIORITY: Priority.MEDIUM}
    if destination:
        fields[Field.MOVE_DESTINATION] = destination
    data = write_identifier(identifier, context.transfer_syntax)
    async with aclosing(requests.answers(context, kind, fields, data, progress)) as answers:
        async for answer in answers:
            failed = _read(answer) if answer.data else {}
            yield _retrieved(answer.command, failed.get(_FAILED_LIST, {}).get("Value", ()))


def _read(answer: Answer) -> DICOMJSON:
    try:
        return read_identifier(answer.data, answer.context.transfer_syntax)
    except RequestError as error:
        raise UpstreamError("the DICOM peer answers with a data set that cannot be read") from error


def _retrieved(command: Command, failed: Iterable[Any]) -> Retrieved:
    remaining = command.fields.get(Field.REMAINING_SUBOPERATIONS)
    return Retrieved(
        status=command.status,
        said=words.answer(command),
        remaining=remaining if isinstance(remaining, int) else None,
        completed=command.number(Field.COMPLETED_SUBOPERATIONS),
        failed=command.number(Field.FAILED_SUBOPERATIONS),
        warnings=command.number(Field.WARNING_SUBOPERATIONS),
        failed_uids=tuple(str(uid) for uid in failed),
        is_over=command.status & 0xFF00 != Status.PENDING,
    )


def _tag(name: str, part: str) -> str:
    tag = tag_of(part)
    if tag is None and len(part) == 8:
        try:
            tag = int(part, 16)
        except ValueError:
            tag = None
    if tag is None or public_vr(tag) is None:
        raise MalformedRequest(f"{name}: DICOM has no such attribute; names are written like PatientName, or 00100010")
    return f"{tag:08X}"


def _element(name: str, tag: str, value: str) -> dict[str, Any]:
    vr = (public_vr(int(tag, 16)) or "UN").split(" ")[0]
    if vr == "SQ":
        return {"vr": vr, "Value": [{}]}
    if not value:
        return {"vr": vr}
    values: list[Any] = value.split("\\")
    if vr == "PN":
        values = [dict(zip(("Alphabetic", "Ideographic", "Phonetic"), one.split("="), strict=False)) for one in values]
    elif vr in NUMERIC:
        try:
            values = [float(one) if vr in ("FL", "FD") else int(one) for one in values]
        except ValueError:
            raise MalformedRequest(f"{name} is a number") from None
    return {"vr": vr, "Value": values}
