"""Command sets (PS3.7 section 6.3, Annex E): Implicit VR Little Endian, group 0000."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from nearframe.errors import MalformedPDU

Value: TypeAlias = str | int | tuple[int, ...]

_ELEMENT: Final = struct.Struct("<HHI")
_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
#: Command Data Set Type of a message without data set; any other value announces one (PS3.7 Table E.1-1).
NO_DATA_SET: Final = 0x0101
_WITH_DATA_SET: Final = 0x0001
#: Says that a message answers another.
_RESPONSE: Final = 0x8000


class Field(IntEnum):
    """Elements of group 0000, by element number."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    OFFENDING_ELEMENT = 0x0901
    ERROR_COMMENT = 0x0902
    ERROR_ID = 0x0903
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ATTRIBUTE_IDENTIFIER_LIST = 0x1005
    ACTION_TYPE_ID = 0x1008
    REMAINING_SUBOPERATIONS = 0x1020
    COMPLETED_SUBOPERATIONS = 0x1021
    FAILED_SUBOPERATIONS = 0x1022
    WARNING_SUBOPERATIONS = 0x1023
    MOVE_ORIGINATOR_AE_TITLE = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


_TEXT: Final = frozenset(
    {
        Field.AFFECTED_SOP_CLASS_UID,
        Field.REQUESTED_SOP_CLASS_UID,
        Field.MOVE_DESTINATION,
        Field.ERROR_COMMENT,
        Field.AFFECTED_SOP_INSTANCE_UID,
        Field.REQUESTED_SOP_INSTANCE_UID,
        Field.MOVE_ORIGINATOR_AE_TITLE,
    }
)
_UIDS: Final = frozenset(field for field in _TEXT if field.name.endswith("_UID"))
_TAGS: Final = frozenset({Field.OFFENDING_ELEMENT, Field.ATTRIBUTE_IDENTIFIER_LIST})


class CommandField(IntEnum):
    """What a message asks for; its answer has the highest bit set (PS3.7 Table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_GET_RQ = 0x0110
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_CREATE_RQ = 0x0140
    N_DELETE_RQ = 0x0150
    C_CANCEL_RQ = 0x0FFF


class Priority(IntEnum):
    """PS3.7 Table E.1-1."""

    MEDIUM = 0x0000
    HIGH = 0x0001
    LOW = 0x0002


@dataclass(frozen=True, slots=True)
class Command:
    """A command set.

    Attributes
    ----------
    fields
        What it holds but the group length. UIDs and titles are without padding.
    """

    fields: Mapping[Field, Value]

    @classmethod
    def request(cls, kind: CommandField, message_id: int, fields: Mapping[Field, Value], *, has_data: bool) -> Command:
        """Return a request."""
        own: dict[Field, Value] = {
            Field.COMMAND_FIELD: kind,
            Field.MESSAGE_ID: message_id,
            Field.COMMAND_DATA_SET_TYPE: _WITH_DATA_SET if has_data else NO_DATA_SET,
        }
        return cls({**own, **fields})

    def answer(self, status: int, fields: Mapping[Field, Value] | None = None, *, has_data: bool = False) -> Command:
        """Return an answer to this request; it names what the request named."""
        own: dict[Field, Value] = {
            Field.COMMAND_FIELD: self.number(Field.COMMAND_FIELD) | _RESPONSE,
            Field.MESSAGE_ID_BEING_RESPONDED_TO: self.message_id,
            Field.COMMAND_DATA_SET_TYPE: _WITH_DATA_SET if has_data else NO_DATA_SET,
            Field.STATUS: status,
        }
        for affected, requested in _NAMES:
            named = self.text(affected) or self.text(requested)
            if named:
                own[affected] = named
        return Command({**own, **(fields or {})})

    @property
    def kind(self) -> CommandField | None:
        """What is asked for, or was; None if it is nothing that PS3.7 knows."""
        try:
            return CommandField(self.number(Field.COMMAND_FIELD) & ~_RESPONSE)
        except ValueError:
            return None

    @property
    def is_answer(self) -> bool:
        return bool(self.number(Field.COMMAND_FIELD) & _RESPONSE)

    @property
    def message_id(self) -> int:
        return self.number(Field.MESSAGE_ID)

    @property
    def answers(self) -> int:
        """The message that this one answers, or cancels."""
        return self.number(Field.MESSAGE_ID_BEING_RESPONDED_TO)

    @property
    def status(self) -> int:
        return self.number(Field.STATUS)

    @property
    def sop_class_uid(self) -> str:
        return self.text(Field.AFFECTED_SOP_CLASS_UID) or self.text(Field.REQUESTED_SOP_CLASS_UID)

    @property
    def sop_instance_uid(self) -> str:
        return self.text(Field.AFFECTED_SOP_INSTANCE_UID) or self.text(Field.REQUESTED_SOP_INSTANCE_UID)

    @property
    def has_data(self) -> bool:
        """True if a data set follows."""
        return self.number(Field.COMMAND_DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET

    def number(self, field: Field, absent: int = 0) -> int:
        """Return a number; `absent` if it is not there."""
        value = self.fields.get(field)
        return value if isinstance(value, int) else absent

    def text(self, field: Field) -> str:
        """Return a text, empty if it is not there."""
        value = self.fields.get(field)
        return value if isinstance(value, str) else ""

    def encode(self) -> bytes:
        """Return the bytes, with their group length, in ascending order of tags."""
        body = b"".join(_element(field, self.fields[field]) for field in sorted(self.fields))
        return _element(Field.GROUP_LENGTH, len(body)) + body

    @classmethod
    def decode(cls, data: bytes) -> Command:
        """Read a command set; elements that PS3.7 does not know are skipped, such as the list of failed
        instances that Orthanc 1.10 puts in here.

        Raises
        ------
        MalformedPDU
            If it is not a command set, or has no Command Field.
        """
        fields: dict[Field, Value] = {}
        at = 0
        while at < len(data):
            at, group, field, value = _read_element(data, at)
            if group == 0 and field in _KNOWN:
                fields[Field(field)] = _value(Field(field), value)
        told = fields.pop(Field.GROUP_LENGTH, 0)
        if isinstance(told, int) and told > len(data):
            raise MalformedPDU("a command set that says it is longer than it is")
        if Field.COMMAND_FIELD not in fields:
            raise MalformedPDU("a command set without Command Field")
        return cls(fields)


_KNOWN: Final = frozenset(Field)
_NAMES: Final = (
    (Field.AFFECTED_SOP_CLASS_UID, Field.REQUESTED_SOP_CLASS_UID),
    (Field.AFFECTED_SOP_INSTANCE_UID, Field.REQUESTED_SOP_INSTANCE_UID),
)


def _element(field: Field, value: Value) -> bytes:
    encoded = _encoded(field, value)
    return _ELEMENT.pack(0, field, len(encoded)) + encoded


def _encoded(field: Field, value: Value) -> bytes:
    if isinstance(value, str):
        data = value.encode("ascii", "replace")
        return data + ((b"\0" if field in _UIDS else b" ") if len(data) % 2 else b"")
    if isinstance(value, tuple):
        return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in value)
    return _U32.pack(value) if field is Field.GROUP_LENGTH else _U16.pack(value)


def _read_element(data: bytes, at: int) -> tuple[int, int, int, bytes]:
    if at + _ELEMENT.size > len(data):
        raise MalformedPDU("a command set ends within an element")
    group, field, length = _ELEMENT.unpack_from(data, at)
    at += _ELEMENT.size
    if length > len(data) - at:
        raise MalformedPDU("an element of a command set says that it is longer than the set")
    return at + length, group, field, data[at : at + length]


def _value(field: Field, data: bytes) -> Value:
    if field in _TEXT:
        return data.decode("latin-1").strip(" \0")
    if field in _TAGS:
        numbers = struct.unpack(f"<{len(data) // 4 * 2}H", data[: len(data) // 4 * 4])
        return tuple(group << 16 | element for group, element in zip(numbers[::2], numbers[1::2], strict=True))
    size = _U32 if field is Field.GROUP_LENGTH else _U16
    if len(data) < size.size:
        raise MalformedPDU(f"{field.name} of a command set is not a number")
    number: int = size.unpack_from(data)[0]
    return number
