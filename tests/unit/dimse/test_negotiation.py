"""What an acceptor agrees to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nearframe.dimse.items import ContextResult, Proposed, Role, UserInformation
from nearframe.dimse.negotiation import Context, Offer, agree, check_request
from nearframe.dimse.pdu import AssociateRJ, AssociateRQ, Rejection

CT, MR, ECHO = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
REQUEST = AssociateRQ("ARCHIVE", "CT", UserInformation(16384), contexts=(Proposed(1, CT, (IMPLICIT, EXPLICIT)),))


def choose(proposed: Proposed) -> str | ContextResult:
    if proposed.abstract_syntax == MR:
        return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    if EXPLICIT in proposed.transfer_syntaxes:
        return EXPLICIT
    return ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED


OFFER = Offer(choose, may_be_scp=lambda uid: uid == CT, max_pdu_bytes=65536, max_window=8)


def test_each_context_has_its_answer() -> None:
    request = replace(REQUEST, contexts=(*REQUEST.contexts, Proposed(3, MR, (EXPLICIT,)), Proposed(5, CT, (IMPLICIT,))))
    agreement = agree(request, OFFER)
    assert [(result.context_id, result.result) for result in agreement.answer.results] == [(1, 0), (3, 3), (5, 4)]
    assert agreement.contexts == {1: Context(1, CT, EXPLICIT)}
    assert agreement.max_send_bytes == 16384
    assert agreement.answer.user.max_pdu_bytes == 65536


@pytest.mark.parametrize(("asked", "agreed"), [(None, (1, 1)), ((3, 2), (3, 2)), ((0, 0), (8, 8)), ((50, 1), (8, 1))])
def test_the_window_is_the_smaller_of_both(asked: tuple[int, int] | None, agreed: tuple[int, int]) -> None:
    agreement = agree(replace(REQUEST, user=UserInformation(16384, window=asked)), OFFER)
    assert agreement.window == agreed
    assert agreement.answer.user.window == (None if asked is None else agreed)


def test_roles_are_granted_where_the_requestor_may_provide() -> None:
    roles = (Role(CT, is_scu=False, is_scp=True), Role(MR, is_scu=True, is_scp=True))
    agreement = agree(replace(REQUEST, user=UserInformation(16384, roles=roles)), OFFER)
    assert agreement.roles == {CT: roles[0], MR: Role(MR, is_scu=True, is_scp=False)}


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (replace(REQUEST, protocol_version=2), Rejection.PROTOCOL_VERSION_NOT_SUPPORTED),
        (replace(REQUEST, application_context="1.2.3"), Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED),
        (replace(REQUEST, contexts=()), Rejection.NO_REASON),
        (replace(REQUEST, contexts=REQUEST.contexts * 2), Rejection.NO_REASON),
        (replace(REQUEST, user=UserInformation(7)), Rejection.LOCAL_LIMIT_EXCEEDED),
    ],
    ids=["version", "application context", "no context", "one number twice", "reads seven bytes at a time"],
)
def test_what_cannot_be_an_association(request_: AssociateRQ, why: Rejection) -> None:
    assert check_request(request_) == AssociateRJ.of(why)


def test_a_later_version_that_keeps_the_first_is_welcome() -> None:
    assert check_request(replace(REQUEST, protocol_version=3)) is None
