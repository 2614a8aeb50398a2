from __future__ import annotations

import errno
import socket

import pytest

from nearframe.dimse import words
from nearframe.dimse.command import Command, Field
from nearframe.dimse.items import ContextResult
from nearframe.dimse.pdu import Abort, AbortReason, AbortSource, AssociateRJ, Rejection, RejectResult


@pytest.mark.parametrize("why", Rejection)
def test_every_rejection_has_words(why: Rejection) -> None:
    assert "standard does not have" not in words.rejection(AssociateRJ.of(why))


def test_a_rejection_for_now_says_so() -> None:
    answer = AssociateRJ.of(Rejection.NO_REASON, RejectResult.TRANSIENT)
    assert words.rejection(answer).endswith("only for now: try again")
    busy = AssociateRJ.of(Rejection.TEMPORARY_CONGESTION, RejectResult.TRANSIENT)
    assert words.rejection(busy).count("try again") == 1


def test_a_rejection_that_the_standard_does_not_have() -> None:
    assert "source 9, reason 9" in words.rejection(AssociateRJ(1, 9, 9))


@pytest.mark.parametrize(
    ("code", "part"),
    [
        (0, "done"),
        (0xA701, "matches"),
        (0xA7FF, "disk"),
        (0xA900, "SOP class"),
        (0xC123, "process"),
        (0x7777, "unknown"),
    ],
)
def test_statuses(code: int, part: str) -> None:
    assert part in words.status(code)


def test_what_the_peer_says_cannot_steer_a_terminal() -> None:
    said = words.answer(Command({Field.STATUS: 0xA700, Field.ERROR_COMMENT: "disk \x1b[2Jfull"}))
    assert said.endswith("[A700] (disk [2Jfull)")


@pytest.mark.parametrize(
    ("code", "done"), [(0, True), (0xB007, True), (0x0107, True), (0xA700, False), (0xFE00, False)]
)
def test_warnings_are_successes(code: int, done: bool) -> None:
    assert words.is_success(code) is done


def test_contexts() -> None:
    assert words.context_result(ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED) == "not in this transfer syntax"
    assert words.context_result(99) == "it does not say why"


def test_an_abort_says_where_to_look() -> None:
    assert words.abort(Abort(AbortSource.USER)) == ": its log says why"
    assert "a PDU out of order" in words.abort(Abort(AbortSource.PROVIDER, AbortReason.UNEXPECTED_PDU))
    assert "for no reason that it tells" in words.abort(Abort(AbortSource.PROVIDER))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "nobody listens there"),
        (socket.gaierror(-2, "Name or service not known"), "is the host's name right?"),
        (OSError(errno.ENETUNREACH, "Connect call failed"), "Network is unreachable"),
        (OSError("Multiple exceptions"), "Multiple exceptions"),
    ],
)
def test_why_nobody_is_reached(error: OSError, said: str) -> None:
    assert said in words.unreachable(error)


def test_what_is_not_offered() -> None:
    assert words.not_offered("1.2.840.10008.5.1.4.31", "not at all") == (
        "the DICOM peer does not offer a worklist: not at all"
    )
    assert "does not take objects of this class" in words.not_offered("1.2.840.10008.5.1.4.1.1.2", "not from us")
