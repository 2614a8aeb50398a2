"""What an association may carry (PS3.8 section 9.3.2-3, PS3.7 Annex D.3): pure decisions of an acceptor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nearframe.dimse.items import APPLICATION_CONTEXT, ContextResult, Proposed, Result, Role, UserInformation
from nearframe.dimse.pdu import AssociateAC, AssociateRJ, AssociateRQ, Rejection

#: Identifiers are odd and fit a byte (PS3.8 section 9.3.2.2).
MAX_CONTEXTS: Final = 128
#: A peer that reads less at a time would make us send mostly headers. DCMTK's own least is 4096.
MIN_PDU_BYTES: Final = 1024
_PROTOCOL_VERSION_1: Final = 0x0001


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context that both sides agreed on."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What an acceptor takes.

    Attributes
    ----------
    choose
        Returns the transfer syntax to be used for a proposed context, or why there is none.
    may_be_scp
        True for an abstract syntax of which the requestor may be the provider: storage, for C-GET.
    max_pdu_bytes
        The largest body of P-DATA-TF that is read.
    max_window
        Operations that a requestor may have outstanding.
    """

    choose: Callable[[Proposed], str | ContextResult]
    may_be_scp: Callable[[str], bool]
    max_pdu_bytes: int
    max_window: int = 1


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was agreed on.

    Attributes
    ----------
    contexts
        By identifier, those accepted.
    roles
        Of the requestor, by SOP class, where it asked for other than the default.
    max_send_bytes
        The largest body of P-DATA-TF that the peer reads; 0 for any.
    window
        Operations that may be invoked and performed at once by the requestor.
    """

    answer: AssociateAC
    contexts: dict[int, Context] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    max_send_bytes: int = 0
    window: tuple[int, int] = (1, 1)


def check_request(request: AssociateRQ) -> AssociateRJ | None:
    """Return why a request cannot be an association at all, or None."""
    if not request.protocol_version & _PROTOCOL_VERSION_1:
        return AssociateRJ.of(Rejection.PROTOCOL_VERSION_NOT_SUPPORTED)
    if request.application_context != APPLICATION_CONTEXT:
        return AssociateRJ.of(Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED)
    if 0 < request.user.max_pdu_bytes < MIN_PDU_BYTES:
        return AssociateRJ.of(Rejection.LOCAL_LIMIT_EXCEEDED)
    numbers = {context.context_id for context in request.contexts}
    if not request.contexts or len(numbers) != len(request.contexts) or len(numbers) > MAX_CONTEXTS:
        return AssociateRJ.of(Rejection.NO_REASON)
    return None


def agree(request: AssociateRQ, offer: Offer) -> Agreement:
    """Answer a request that `check_request` passes."""
    results: list[Result] = []
    contexts: dict[int, Context] = {}
    for proposed in request.contexts:
        result = _result(proposed, offer)
        results.append(result)
        if result.is_accepted:
            contexts[proposed.context_id] = Context(
                proposed.context_id, proposed.abstract_syntax, result.transfer_syntax
            )
    roles = {
        role.sop_class_uid: Role(role.sop_class_uid, role.is_scu, role.is_scp and offer.may_be_scp(role.sop_class_uid))
        for role in request.user.roles
    }
    window = _window(request.user.window, offer.max_window)
    user = UserInformation(
        max_pdu_bytes=offer.max_pdu_bytes,
        window=None if request.user.window is None else window,
        roles=tuple(roles.values()),
    )
    answer = AssociateAC(request.called_ae_title, request.calling_ae_title, user, results=tuple(results))
    return Agreement(answer, contexts, roles, request.user.max_pdu_bytes, window)


def _result(proposed: Proposed, offer: Offer) -> Result:
    chosen = offer.choose(proposed)
    if isinstance(chosen, str):
        return Result(proposed.context_id, ContextResult.ACCEPTANCE, chosen)
    # Not significant, and yet some requestors want one there that they know.
    return Result(proposed.context_id, chosen, proposed.transfer_syntaxes[0])


def _window(asked: tuple[int, int] | None, most: int) -> tuple[int, int]:
    """Return operations invoked and performed by the requestor (PS3.7 Annex D.3.3.3): 0 asks for any number."""
    if asked is None:
        return 1, 1
    invoked, performed = asked
    return min(invoked or most, most), min(performed or most, most)
