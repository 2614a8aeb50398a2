"""The DICOM peers of a node: who they are, what they may do, and from where they call (`[[peers]]`)."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from nearframe.config import Settings
from nearframe.dimse.scu import Peer
from nearframe.dimse.tls import ANY_NAME, Credentials, is_named
from nearframe.errors import ConfigurationError
from nearframe.settingkinds import AE_TITLE, Address

#: What a peer may be allowed: to send objects, to ask what there is, and to have it sent.
RIGHTS: Final = ("store", "query", "retrieve")
_TLS_FILES: Final = ("tls_cert", "tls_key", "tls_ca")
_MEMBERS: Final = frozenset({"ae_title", "host", "port", "networks", "may", "tls", "tls_name", *_TLS_FILES})


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """A peer as the settings describe it.

    Attributes
    ----------
    host, port
        Where it listens; empty and 0 if it only calls.
    networks
        From where it may call; anywhere if there are none.
    tls
        What we show it and trust when we call it by TLS; None to call it without.
    tls_name
        What its certificate calls it, if not `host`; "*" for whatever the authority signed.
    """

    ae_title: str
    host: str = ""
    port: int = 0
    networks: tuple[str, ...] = ()
    may: frozenset[str] = frozenset(RIGHTS)
    tls: Credentials | None = None
    tls_name: str = ""

    def may_call_from(self, address: str) -> bool:
        """Return whether an address is one of its own."""
        if not self.networks:
            return True
        client = ipaddress.ip_address(address)
        return any(client in ipaddress.ip_network(network) for network in self.networks)

    def may_call_as(self, tls: ssl.SSLObject | None) -> bool:
        """Return whether the certificate of a caller is its own; any is, where none of ours is to be known."""
        if self.tls_name in ("", ANY_NAME) or tls is None or tls.context.verify_mode is not ssl.CERT_REQUIRED:
            return True
        return is_named(tls.getpeercert(), self.tls_name)

    def as_called_by(self, our_ae_title: str) -> Peer:
        """Return it as a peer that we call.

        Raises
        ------
        ConfigurationError
            If a file for TLS cannot be used.
        """
        if self.tls is None:
            return Peer(self.host, self.port, self.ae_title, our_ae_title)
        is_any = self.tls_name == ANY_NAME
        context = self.tls.for_calling(checks_name=not is_any)
        return Peer(self.host, self.port, self.ae_title, our_ae_title, context, "" if is_any else self.tls_name)


def callable_peers(settings: Settings) -> dict[str, Peer]:
    """Return the peers of a node that listen somewhere, by AE title.

    Raises
    ------
    ConfigurationError
        As `read_peers`, and if a file for TLS cannot be used.
    """
    known = read_peers(settings.peers, Credentials.of(settings))
    return {title: peer.as_called_by(settings.ae_title) for title, peer in known.items() if peer.host}


def peer_named(name: str, settings: Settings) -> KnownPeer:
    """Return the peer that somebody names.

    Parameters
    ----------
    name
        ``TITLE@HOST:PORT``, or the AE title of one of the settings' ``[[peers]]``.

    Raises
    ------
    ConfigurationError
        If it is not known, or where it listens is not.
    """
    title, at, place = name.rpartition("@")
    if at:
        try:
            address = Address.parse(place)
            return KnownPeer(AE_TITLE.read(title), address.host, address.port)
        except ValueError as error:
            raise ConfigurationError(f"{name}: expected TITLE@HOST:PORT ({error})") from error
    known = read_peers(settings.peers, Credentials.of(settings)).get(name)
    if known is None:
        raise ConfigurationError(
            f"{name}: expected TITLE@HOST:PORT, or the name of a [[peers]] table of the settings, and none has this one"
        )
    if not known.host:
        raise ConfigurationError(f"{name}: the settings do not say where it listens (host and port)")
    return known


def with_peer(settings: Settings, peer: KnownPeer) -> Settings:
    """Return settings by which a peer is let in, where only those that they name are."""
    if not settings.peers or any(table.get("ae_title") == peer.ae_title for table in settings.peers):
        return settings
    table = {"ae_title": peer.ae_title, "host": peer.host, "port": peer.port}
    return replace(settings, peers=(*settings.peers, table))


def read_peers(
    tables: Iterable[Mapping[str, object]],
    ours: Credentials = Credentials(),  # noqa: B008 - it is immutable
) -> dict[str, KnownPeer]:
    """Read the ``[[peers]]`` of the settings, by AE title.

    Parameters
    ----------
    ours
        Used for TLS where a peer's table names none for it.

    Raises
    ------
    ConfigurationError
        Naming the table and its member that cannot be read.
    """
    found: dict[str, KnownPeer] = {}
    for number, table in enumerate(tables, start=1):
        try:
            peer = _read(table, ours)
        except ValueError as error:
            raise ConfigurationError(f"[[peers]], table {number}: {error}") from error
        if peer.ae_title in found:
            raise ConfigurationError(f"[[peers]], table {number}: there is another peer of this ae_title")
        found[peer.ae_title] = peer
    return found


def _read(table: Mapping[str, object], ours: Credentials) -> KnownPeer:
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
    name = table.get("tls_name", "")
    if not isinstance(name, str):
        raise ValueError("tls_name: the name in the peer's certificate")
    return KnownPeer(title, host, port, networks, frozenset(may), _tls(table, ours), name)


def _tls(table: Mapping[str, object], ours: Credentials) -> Credentials | None:
    files = {}
    for member in _TLS_FILES:
        value = table.get(member)
        if value is not None and (not isinstance(value, str) or not value):
            raise ValueError(f"{member}: the path of a file in PEM")
        files[member] = Path(value).expanduser() if isinstance(value, str) else None
    is_wanted = table.get("tls", any(files.values()))
    if not isinstance(is_wanted, bool):
        raise ValueError("tls: true or false")
    if (files["tls_cert"] is None) != (files["tls_key"] is None):
        raise ValueError("tls_cert and tls_key: one without the other")
    if not is_wanted:
        return None
    shown = files if files["tls_cert"] else {"tls_cert": ours.certificate, "tls_key": ours.key}
    return Credentials(shown["tls_cert"], shown["tls_key"], files["tls_ca"] or ours.authority)


def _texts(table: Mapping[str, object], member: str, absent: Iterable[str]) -> list[str]:
    value = table.get(member, list(absent))
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{member}: a list of texts")
    return value
