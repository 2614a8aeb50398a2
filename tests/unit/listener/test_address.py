from __future__ import annotations

import socket

import pytest

from nearframe.errors import ConfigurationError
from nearframe.listener import is_loopback
from nearframe.listener.address import bind
from nearframe.settingkinds import Address


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(Address(host, 0)) is loopback


def test_port_zero_takes_a_free_port() -> None:
    with bind(Address("127.0.0.1", 0)) as listening:
        assert listening.getsockname()[1] > 0


def test_a_taken_port_is_named() -> None:
    with bind(Address("127.0.0.1", 0)) as listening:
        taken = Address("127.0.0.1", listening.getsockname()[1])
        with pytest.raises(ConfigurationError, match=rf"cannot listen on {taken}: .*in use; choose another address"):
            bind(taken)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 70, ""])
def test_an_unknown_host_is_named(host: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown host"):
        is_loopback(Address(host, 1)) or bind(Address(host, 1))


def test_connections_send_the_end_of_an_answer_without_waiting() -> None:
    with bind(Address("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
