"""The DICOM peers of a node: who they are, what they may do, and from where they call (`[[peers]]`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from nearframe.dimse.scu import Peer
from nearframe.errors import ConfigurationError
from nearframe.settingkinds import AE_TITLE

#: What a peer may be allowed: to send objects, to ask what there is, and to have it sent.
RIGHTS: Final = ("store", "query", "retrieve")
_MEMBERS: Final = frozenset({"ae_title", "host", "port", "networks", "may"})


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """A peer as the settings describe it.

    Attributes
    ----------
    host, port
        Where it listens; empty and 0 if it only calls.
    networks
        From where it may call; anywhere if there are none.
    """

    ae_title: str
    host: str = ""
    port: int = 0
    networks: tuple[str, ...] = ()
    may: frozenset[str] = frozenset(RIGHTS)

    def may_call_from(self, address: str) -> bool:
        """Return whether an address is one of its own."""
        if not self.networks:
            return True
        client = ipaddress.ip_address(address)
        return any(client in ipaddress.ip_network(network) for network in self.networks)

    def as_called_by(self, our_ae_title: str) -> Peer:
        """Return it as a peer that we call."""
        return Peer(self.host, self.port, self.ae_title, our_ae_title)


def read_peers(tables: Iterable[Mapping[str, object]]) -> dict[str, KnownPeer]:
    """Read the ``[[peers]]`` of the settings, by AE title.

    Raises
    ------
    ConfigurationError
        Naming the table and its member that cannot be read.
    """
    found: dict[str, KnownPeer] = {}
    for number, table in enumerate(tables, start=1):
        try:
            peer = _read(table)
        except ValueError as error:
            raise ConfigurationError(f"[[peers]], table {number}: {error}") from error
        if peer.ae_title in found:
            raise ConfigurationError(f"[[peers]], table {number}: there is another peer of this ae_title")
        found[peer.ae_title] = peer
    return found


def _read(table: Mapping[str, object]) -> KnownPeer:
    if unknown := table.keys() - _MEMBERS:
        raise ValueError(f"there is no {sorted(unknown)[0]}; a peer has {', '.join(sorted(_MEMBERS))}")
    title, host, port = table.get("ae_title"), table.get("host", ""), table.get("port", 0)
    try:
        title = AE_TITLE.read(title)
    except (TypeError, ValueError) as error:
        raise ValueError(f"ae_title: {error}") from error
    if not isinstance(host, str) or isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError("host and port: where the peer listens")
    may = _texts(table, "may", RIGHTS)
    if unknown_rights := set(may) - set(RIGHTS):
        raise ValueError(f"may: {sorted(unknown_rights)[0]} is none of {', '.join(RIGHTS)}")
    networks = tuple(str(ipaddress.ip_network(network)) for network in _texts(table, "networks", ()))
    return KnownPeer(title, host, port, networks, frozenset(may))


def _texts(table: Mapping[str, object], member: str, absent: Iterable[str]) -> list[str]:
    value = table.get(member, list(absent))
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{member}: a list of texts")
    return value
