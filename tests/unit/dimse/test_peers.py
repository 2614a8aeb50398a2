"""Peers as the settings describe them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nearframe.config import Settings
from nearframe.dimse.peers import KnownPeer, callable_peers, peer_named, read_peers, with_peer
from nearframe.dimse.tls import Credentials
from nearframe.errors import ConfigurationError
from nearframe.listener.devtls import DevelopmentTLS, ensure

NODE = Credentials(Path("node.pem"), Path("node.key"), Path("clinic.pem"))


def read(**table: object) -> KnownPeer:
    (peer,) = read_peers([{"ae_title": "PACS", **table}], NODE).values()
    return peer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentTLS:
    return ensure(tmp_path_factory.mktemp("tls"), datetime.now(UTC))


@pytest.mark.parametrize(
    ("table", "tls"),
    [
        ({}, None),
        ({"tls": False, "tls_ca": "pacs.pem"}, None),
        ({"tls": True}, NODE),
        ({"tls_ca": "pacs.pem"}, Credentials(NODE.certificate, NODE.key, Path("pacs.pem"))),
        (
            {"tls_cert": "for-pacs.pem", "tls_key": "for-pacs.key"},
            Credentials(Path("for-pacs.pem"), Path("for-pacs.key"), NODE.authority),
        ),
    ],
)
def test_what_tls_is_spoken_with(table: Mapping[str, object], tls: Credentials | None) -> None:
    assert read(**table).tls == tls


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"tls": "yes"}, "tls: true or false"),
        ({"tls_ca": 7}, "tls_ca: the path of a file"),
        ({"tls_cert": "a.pem"}, "one without the other"),
        ({"tls_name": ["a"]}, "tls_name"),
        ({"tls_names": "a"}, "there is no tls_names"),
        ({"may": ["delete"]}, "delete is none of"),
        ({"networks": ["10.1.0.1/16"]}, "host bits"),
        ({"port": 70000}, "host and port"),
        ({"ae_title": "A-TITLE-TOO-LONG-FOR-DICOM"}, "ae_title"),
    ],
)
def test_what_is_no_peer(table: Mapping[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"\[\[peers\]\], table 1: .*{said}"):
        read(**table)


def test_a_title_is_there_once() -> None:
    with pytest.raises(ConfigurationError, match="table 2: there is another"):
        read_peers([{"ae_title": "PACS"}, {"ae_title": "PACS"}])


def test_where_a_peer_may_call_from() -> None:
    peer = read(networks=["10.1.0.0/16"])
    assert peer.may_call_from("10.1.2.3")
    assert not peer.may_call_from("10.2.2.3")
    assert read().may_call_from("192.0.2.1")


def test_only_those_that_listen_are_called(made: DevelopmentTLS) -> None:
    pacs = {"ae_title": "PACS", "host": "pacs", "port": 104, "tls_ca": str(made.authority), "tls_name": "*"}
    called = callable_peers(Settings(peers=(pacs, {"ae_title": "CT1"})))
    assert called.keys() == {"PACS"}
    assert called["PACS"].tls is not None
    assert not called["PACS"].tls.check_hostname
    with pytest.raises(ConfigurationError, match=r"lost\.pem: no certificates in PEM \(No such file"):
        callable_peers(Settings(peers=({**pacs, "tls_ca": "lost.pem"},)))


def called_by(made: DevelopmentTLS, *, demands: bool) -> ssl.SSLObject:
    """Return the side that is called of a handshake with a caller whose certificate is for localhost."""
    own = Credentials(made.files.certificate, made.files.key, made.authority)
    called = own if demands else Credentials(own.certificate, own.key)
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        called.for_listening().wrap_bio(theirs, ours, server_side=True),
        own.for_calling().wrap_bio(ours, theirs, server_hostname="localhost"),
    )
    left = list(reversed(sides))
    while left:
        side = left.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            left.append(side)
    return sides[0]


def test_a_caller_is_who_its_certificate_says(made: DevelopmentTLS) -> None:
    tls = called_by(made, demands=True)
    assert read(tls_name="LOCALHOST").may_call_as(tls)
    assert read(tls_name="127.0.0.1").may_call_as(tls)
    assert not read(tls_name="ct1.example.org").may_call_as(tls)
    assert read(tls_name="*").may_call_as(tls)
    assert read().may_call_as(tls)
    assert read(tls_name="ct1.example.org").may_call_as(None)


def test_where_no_certificate_is_demanded_none_is_looked_at(made: DevelopmentTLS) -> None:
    assert read(tls_name="ct1.example.org").may_call_as(called_by(made, demands=False))


@pytest.mark.parametrize("name", ["PACS@10.0.0.1:104", "PACS"])
def test_a_peer_is_named_by_its_place_or_by_its_title(name: str) -> None:
    settings = Settings(peers=({"ae_title": "PACS", "host": "10.0.0.1", "port": 104},))
    peer = peer_named(name, settings)
    assert (peer.ae_title, peer.host, peer.port) == ("PACS", "10.0.0.1", 104)


def test_a_peer_that_is_called_is_let_in_where_only_known_ones_are() -> None:
    pacs, other = KnownPeer("PACS", "10.0.0.1", 104), {"ae_title": "CT1"}
    assert with_peer(Settings(), pacs) == Settings()
    assert read_peers(with_peer(Settings(peers=(other,)), pacs).peers).keys() == {"CT1", "PACS"}
    known = Settings(peers=({"ae_title": "PACS", "may": ["store"]},))
    assert with_peer(known, pacs) == known
