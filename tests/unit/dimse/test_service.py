"""Who may associate."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from nearframe.dimse.pdu import AssociateRJ, AssociateRQ, Rejection
from nearframe.dimse.peers import KnownPeer
from nearframe.dimse.server import Admission
from nearframe.dimse.service import Doorkeeper


def decision(calling: str, *known: str) -> Admission | AssociateRJ:
    peers = {title: KnownPeer(title) for title in known}
    keeper = Doorkeeper("ARCHIVE", peers, frozenset(), {}, lambda association, is_released: None, nullcontext)
    return keeper(AssociateRQ("ARCHIVE", calling), "127.0.0.1", None)


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
