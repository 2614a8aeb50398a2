"""Who may send, and whose identifiers are whose."""

from __future__ import annotations

from typing import Any

import pytest

from nearframe.errors import ConfigurationError, UnacceptableMessage
from nearframe.hl7.acknowledgement import Header
from nearframe.hl7.er7 import read_message
from nearframe.hl7.known import Senders, read_authorities, read_senders
from tests.hl7messages import adt, pid

HEADER = Header.of(adt("A08"))
HERE = "127.0.0.1"


def test_anybody_may_send_where_nobody_is_configured() -> None:
    assert Senders().may_connect("198.51.100.7")
    Senders().check(HEADER, "198.51.100.7", "orders")


@pytest.mark.parametrize(
    ("table", "condition"),
    [
        ({"application": "ADT1"}, None),
        ({"application": "ADT1", "facility": "HOSPITAL", "networks": ["127.0.0.0/8"]}, None),
        ({"application": "ADT1", "facility": "CLINIC"}, 103),
        ({"application": "OTHER"}, 103),
        ({"application": "ADT1", "networks": ["198.51.100.0/24"]}, 103),
        ({"application": "ADT1", "may": ["orders"]}, 200),
    ],
)
def test_who_may_send_what(table: dict[str, Any], condition: int | None) -> None:
    senders = read_senders([table])
    if condition is None:
        senders.check(HEADER, HERE, "patients")
        return
    with pytest.raises(UnacceptableMessage) as raised:
        senders.check(HEADER, HERE, "patients")
    assert raised.value.condition == condition


def test_from_where_somebody_may_connect() -> None:
    senders = read_senders([{"application": "A", "networks": ["10.1.0.0/16"]}])
    assert senders.may_connect("10.1.2.3")
    assert not senders.may_connect("10.2.0.1")


@pytest.mark.parametrize(
    ("identifier", "issuers"),
    [
        ("7^^^HOSP", ("HOSP",)),
        ("7^^^&1.2.3&ISO", ("1.2.3",)),
        ("7", ("",)),
        ("7^^^MAIN", ("Main Hospital", "")),
        ("7^^^OTHER&1.9&ISO", ("Ninth",)),
    ],
)
def test_what_an_authority_is_called_in_images(identifier: str, issuers: tuple[str, ...]) -> None:
    tables = [{"authority": "MAIN", "issuers": ["Main Hospital", ""]}, {"authority": "1.9", "issuers": ["Ninth"]}]
    field = read_message(adt("A08", pid(identifier))).only("PID").first(3)
    assert read_authorities(tables).issuers_of(field) == issuers


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "application"),
        ({"application": 7}, "application"),
        ({"application": "A", "may": ["everything"]}, "everything"),
        ({"application": "A", "may": "orders"}, "may"),
        ({"application": "A", "networks": ["10.1"]}, "networks"),
        ({"application": "A", "password": "x"}, "password"),
    ],
)
def test_a_sender_that_cannot_be(table: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"\[\[hl7_senders\]\], table 1: .*{says}"):
        read_senders([table])


@pytest.mark.parametrize("table", [{"authority": "A"}, {"authority": "A", "issuers": "B"}, {"issuer": "B"}])
def test_an_authority_that_cannot_be(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="table 1"):
        read_authorities([table])
