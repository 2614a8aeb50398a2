"""Who may associate."""

from __future__ import annotations

import ssl
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nearframe.dimse.pdu import AssociateRJ, AssociateRQ, Rejection
from nearframe.dimse.peers import KnownPeer
from nearframe.dimse.server import Admission
from nearframe.dimse.service import Doorkeeper
from nearframe.listener.devtls import ensure
from tests.unit.dimse.test_peers import called_by


def decision(calling: str, *known: str) -> Admission | AssociateRJ:
    return decision_among(calling, *map(KnownPeer, known))


def decision_among(calling: str, *peers: KnownPeer, tls: ssl.SSLObject | None = None) -> Admission | AssociateRJ:
    known = {peer.ae_title: peer for peer in peers}
    keeper = Doorkeeper("ARCHIVE", known, frozenset(), {}, lambda association, is_released: None, nullcontext)
    return keeper(AssociateRQ("ARCHIVE", calling), "127.0.0.1", tls)


@pytest.mark.parametrize("calling", ["CT", "CT_1", "mr-2 north", "PACS@SITE", "A", "3T.MR"])
def test_a_usual_title_is_welcome_where_nobody_is_configured(calling: str) -> None:
    assert isinstance(decision(calling), Admission)


@pytest.mark.parametrize(
    "calling", ["", "../x", "/etc/passwd", "CT\0x", "CT\\x", "C\nT", "CTé", ".", "a/b", "${x}", "*"]
)
def test_what_is_no_title_is_not(calling: str) -> None:
    assert decision(calling) == AssociateRJ.of(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED)


def test_where_some_are_configured_whatever_they_are_called_nobody_else_is() -> None:
    assert isinstance(decision("a/b", "a/b"), Admission)
    assert decision("CT", "a/b") == AssociateRJ.of(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED)


def test_who_is_rejected_is_told_the_same_whatever_the_reason_for_the_log(tmp_path: Path) -> None:
    elsewhere = KnownPeer("CT", networks=("10.1.0.0/16",))
    other = KnownPeer("CT", tls_name="ct1.example.org")
    tls = called_by(ensure(tmp_path, datetime.now(UTC)), demands=True)
    rejections = [
        decision_among("MR", elsewhere),
        decision_among("CT", elsewhere),
        decision_among("CT", other, tls=tls),
    ]
    reasons = [one.because for one in rejections if isinstance(one, AssociateRJ)]
    assert [word in reason for word, reason in zip(("title", "network", "tls_name"), reasons, strict=True)] == [
        True
    ] * 3
    on_the_wire = AssociateRJ.of(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED).encode()
    assert {one.encode() for one in rejections if isinstance(one, AssociateRJ)} == {on_the_wire}
