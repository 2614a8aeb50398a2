"""Whom messages come from, and whose identifiers they name: `[[hl7_senders]]` and `[[hl7_authorities]]`."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from nearframe.errors import ConfigurationError, UnacceptableMessage
from nearframe.hl7.acknowledgement import Header
from nearframe.hl7.er7 import Field
from nearframe.settingkinds import NETWORKS

T = TypeVar("T")

#: What a sender may be allowed: to say who patients are, and what is to be done.
RIGHTS: Final = ("patients", "orders")
_SENDER: Final = frozenset({"application", "facility", "networks", "may"})
_AUTHORITY: Final = frozenset({"authority", "issuers"})


@dataclass(frozen=True, slots=True)
class Sender:
    """A system as the settings describe it.

    Attributes
    ----------
    application, facility
        What it calls itself (MSH-3 and MSH-4, their first components); an empty facility is any.
    networks
        From where it may call; anywhere if there are none.
    """

    application: str
    facility: str = ""
    networks: tuple[str, ...] = ()
    may: frozenset[str] = frozenset(RIGHTS)

    def may_call_from(self, address: str) -> bool:
        """Return whether an address is one of its own."""
        client = ipaddress.ip_address(address)
        return not self.networks or any(client in ipaddress.ip_network(network) for network in self.networks)

    def is_named(self, header: Header) -> bool:
        """Return whether a message says that it comes from here."""
        application, facility = (components[0] for components in header.sender)
        return application == self.application and self.facility in ("", facility)


class Senders:
    """The systems that messages are taken from; any, where none is configured."""

    def __init__(self, senders: Iterable[Sender] = ()) -> None:
        self._senders = tuple(senders)

    def may_connect(self, address: str) -> bool:
        """Return whether somebody may call from an address."""
        return not self._senders or any(sender.may_call_from(address) for sender in self._senders)

    def check(self, header: Header, address: str, right: str) -> None:
        """Refuse a message of somebody who is not known, or may not say such a thing.

        Raises
        ------
        UnacceptableMessage
            If so.
        """
        if not self._senders:
            return
        named = [one for one in self._senders if one.is_named(header) and one.may_call_from(address)]
        if not named:
            raise UnacceptableMessage(103, "this sender is none of [[hl7_senders]], or calls from elsewhere", "MSH", 3)
        if not any(right in sender.may for sender in named):
            raise UnacceptableMessage(200, f"this sender may not send {right} (may, of its [[hl7_senders]])", "MSH", 9)


class Authorities:
    """What the assigning authorities of HL7 are called in DICOM, as Issuer of Patient ID (0010,0021).

    Parameters
    ----------
    issuers
        By authority. An authority that is not among them is its own issuer.
    """

    def __init__(self, issuers: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._issuers = dict(issuers or {})

    def issuers_of(self, identifier: Field) -> tuple[str, ...]:
        """Return the issuers that an identifier (CX) may have in images, the usual one first; "" is none.

        Raises
        ------
        UnacceptableMessage
            If it cannot be read.
        """
        names = [identifier.text(4, 1), identifier.text(4, 2)]  # namespace, universal id (HD)
        known = next((name for name in names if name in self._issuers), None)
        return (names[0] or names[1],) if known is None else self._issuers[known]


def read_senders(tables: Iterable[Mapping[str, object]]) -> Senders:
    """Read the ``[[hl7_senders]]`` of the settings.

    Raises
    ------
    ConfigurationError
        Naming the table and its member that cannot be read.
    """
    return Senders(_each("hl7_senders", tables, _sender))


def read_authorities(tables: Iterable[Mapping[str, object]]) -> Authorities:
    """Read the ``[[hl7_authorities]]`` of the settings; raises as `read_senders`."""
    return Authorities(dict(_each("hl7_authorities", tables, _authority)))


def _each(name: str, tables: Iterable[Mapping[str, object]], read: Callable[[Mapping[str, object]], T]) -> Iterator[T]:
    for number, table in enumerate(tables, start=1):
        try:
            yield read(table)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"[[{name}]], table {number}: {error}") from error


def _sender(table: Mapping[str, object]) -> Sender:
    _check_members(table, _SENDER)
    may = _texts(table, "may", RIGHTS)
    if unknown := set(may) - set(RIGHTS):
        raise ValueError(f"may: {min(unknown)} is none of {', '.join(RIGHTS)}")
    application = _text(table, "application")
    if not application:
        raise ValueError("application: what the sender calls itself in MSH-3")
    return Sender(application, _text(table, "facility"), NETWORKS.read(_texts(table, "networks", ())), frozenset(may))


def _authority(table: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    _check_members(table, _AUTHORITY)
    issuers = _texts(table, "issuers", ())
    if not issuers:
        raise ValueError('issuers: a list, of "" for images that name none, and the names that they have')
    return _text(table, "authority"), tuple(issuer.strip() for issuer in issuers)


def _check_members(table: Mapping[str, object], members: frozenset[str]) -> None:
    if unknown := table.keys() - members:
        raise ValueError(f"there is no {min(unknown)}; it has {', '.join(sorted(members))}")


def _text(table: Mapping[str, object], member: str) -> str:
    value = table.get(member, "")
    if not isinstance(value, str):
        raise ValueError(f"{member}: a text")
    return value.strip()


def _texts(table: Mapping[str, object], member: str, absent: Iterable[str]) -> list[str]:
    value = table.get(member, list(absent))
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{member}: a list of texts")
    return value
