"""Where we may listen."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from pathlib import Path

from nearframe.errors import ConfigurationError
from nearframe.settingkinds import Address

BACKLOG = 1024

_DESCRIPTORS = Path("/proc/self/fd")


def is_loopback(address: Address) -> bool:
    """Return True if every address the host stands for is this machine only."""
    return all(ipaddress.ip_address(ip).is_loopback for _, ip in _resolve(address))


def demand_loopback(option: str, address: Address) -> None:
    """Refuse to listen where other machines reach.

    Raises
    ------
    ConfigurationError
        If they do.
    """
    if not is_loopback(address):
        raise ConfigurationError(
            f"{option} {address} is reachable from other machines, and there is no access control yet: "
            "use 127.0.0.1, [::1] or localhost"
        )


def bind(address: Address) -> socket.socket:
    """Return a listening socket; with port 0 the system has chosen one.

    Raises
    ------
    ConfigurationError
        If the host is unknown or the port is taken.
    """
    family, host = _resolve(address)[0]
    try:
        listening = socket.create_server((host, address.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {address}: {os.strerror(error.errno or 0)}; choose another address"
        ) from error
    # Connections inherit it. Else the end of an answer waits until all before it is acknowledged: a round trip more.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def cut_connections(address: Address) -> None:
    """Shut every connection of this process to a local address, whoever holds it.

    The server closes what is idle and waits for the rest; it cannot be told to cut. Looking
    through our own descriptors works on Linux; elsewhere this does nothing.
    """
    for entry in _DESCRIPTORS.iterdir() if _DESCRIPTORS.is_dir() else ():
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith("socket:"):
                _shut_if_local(os.dup(int(entry.name)), address)


def _shut_if_local(descriptor: int, address: Address) -> None:
    with socket.socket(fileno=descriptor) as connection:
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            host, port = connection.getsockname()[:2]
            if (host, port) == (address.host, address.port):
                # Shuts the connection itself, not our duplicate only; who holds it sees its end.
                connection.shutdown(socket.SHUT_RDWR)


def _resolve(address: Address) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigurationError(f"cannot listen on {address}: unknown host; use for example 127.0.0.1") from error
    return [(family, str(place[0])) for family, _, _, _, place in found]
