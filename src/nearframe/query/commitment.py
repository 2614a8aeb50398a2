"""Storage commitment (PS3.4 Annex J, PS3.18 chapter 13): which objects this node answers for.

It answers for what its catalogue has a version of: that row was written once header and every
piece were durable, under their digests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from nearframe.clock import Clock, SystemClock
from nearframe.context import Context
from nearframe.dicom.model import DICOMJSON
from nearframe.errors import LimitExceeded, MalformedRequest, MissingIdentifier, NotFound
from nearframe.ids import normalise_uid
from nearframe.storage.catalogue.commitments import Commitment, CommitmentKey, Commitments
from nearframe.storage.ports import Catalogue

TRANSACTION_UID: Final = "00081195"
#: Kind of the event that says a request was kept.
EVENT: Final = "commitment"
_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
_REASON: Final = "00081197"
_CLASS: Final = "00081150"
_INSTANCE: Final = "00081155"
_REFERENCED_STUDIES: Final = "00081110"
#: Failure reasons (PS3.3 section C.14.1.1).
_NO_SUCH_INSTANCE: Final = 0x0112
_CLASS_CONFLICT: Final = 0x0119
_DUPLICATE: Final = 0x0131
_MOST_ASKED: Final = 20_000
_MOST_UID_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class Verdict:
    """What this node answers for, of what it was asked to; SOP class and instance of each, and why not."""

    kept: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str, int], ...]

    def as_json(self) -> DICOMJSON:
        """Return the sequences of a report; one that would be empty is absent."""
        report: DICOMJSON = {}
        if self.failed:
            items = [_item(*names) | {_REASON: {"vr": "US", "Value": [why]}} for *names, why in self.failed]
            report[_FAILED] = {"vr": "SQ", "Value": items}
        if self.kept:
            report[_REFERENCED] = {"vr": "SQ", "Value": [_item(*names) for names in self.kept]}
        return report


class CommitmentService:
    """Keeps requests, and decides on them. Any thread may call.

    Parameters
    ----------
    on_ask
        Called once a request is kept.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        table: Commitments,
        clock: Clock | None = None,
        on_ask: Callable[[], None] = lambda: None,
    ) -> None:
        self.table = table
        self.clock = clock or SystemClock()
        self._catalogue = catalogue
        self._on_ask = on_ask

    def ask(
        self, context: Context, requestor: str, request: DICOMJSON, transaction_uid: str | None = None
    ) -> Commitment:
        """Keep a request, durably.

        Parameters
        ----------
        requestor
            Its application entity title, to which the report goes; empty for who fetches it.
        transaction_uid
            Where the request does not say it itself.

        Raises
        ------
        MissingIdentifier
            If it lacks its Transaction UID, or the UIDs of an object.
        MalformedRequest
            If it names nothing, or names it by study.
        """
        transaction = transaction_uid or _uid(request, TRANSACTION_UID, "TransactionUID")
        if len(transaction) > _MOST_UID_CHARS:
            raise MalformedRequest(f"a Transaction UID has at most {_MOST_UID_CHARS} characters")
        asked = tuple(_asked(request))
        key = CommitmentKey(context.tenant, requestor, transaction)
        commitment = Commitment(key, asked, self.clock.now())
        self.table.put(commitment, commitment.asked_at if requestor else None)
        self._catalogue.announce(EVENT, context.tenant, None, {"requestor": requestor, "transaction": transaction})
        self._on_ask()
        return commitment

    def find(self, context: Context, requestor: str, transaction_uid: str) -> Commitment:
        """Return a request.

        Raises
        ------
        NotFound
            If there was none.
        """
        found = self.table.find(CommitmentKey(context.tenant, requestor, transaction_uid))
        if found is None:
            raise NotFound("commitment request")
        return found

    def judge(self, commitment: Commitment) -> Verdict:
        """Decide, as things are now."""
        kept: list[tuple[str, str]] = []
        failed: list[tuple[str, str, int]] = []
        seen: set[str] = set()
        for sop_class, instance in commitment.asked:
            why = _DUPLICATE if instance in seen else self._why_not(commitment.key.tenant, sop_class, instance)
            seen.add(instance)
            if why is None:
                kept.append((sop_class, instance))
            else:
                failed.append((sop_class, instance, why))
        return Verdict(tuple(kept), tuple(failed))

    def _why_not(self, tenant: str, sop_class: str, instance: str) -> int | None:
        try:
            identity = self._catalogue.find_instance(tenant, instance).identity
        except NotFound:
            # A rejection note, or what it rejects: kept, though nothing shows it.
            kept = self._catalogue.list_versions(tenant, instance)
            if not kept:
                return _NO_SUCH_INSTANCE
            identity = kept[-1].identity
        return None if identity.sop_class_uid == sop_class else _CLASS_CONFLICT


def _asked(request: DICOMJSON) -> Iterator[tuple[str, str]]:
    items = _values(request, _REFERENCED)
    if not items:
        by_study = _REFERENCED_STUDIES in request
        raise MalformedRequest(
            "name each object in Referenced SOP Sequence; by study is not understood here"
            if by_study
            else "Referenced SOP Sequence names no object"
        )
    if len(items) > _MOST_ASKED:
        raise LimitExceeded("objects in one request for storage commitment", _MOST_ASKED, len(items))
    for item in items:
        if not isinstance(item, dict):
            raise MalformedRequest("Referenced SOP Sequence has an item that is none")
        yield _uid(item, _CLASS, "ReferencedSOPClassUID"), _uid(item, _INSTANCE, "ReferencedSOPInstanceUID")


def _uid(document: DICOMJSON, tag: str, keyword: str) -> str:
    values = _values(document, tag)
    if not values or not isinstance(values[0], str) or not (found := normalise_uid(values[0])):
        raise MissingIdentifier(keyword)
    return found


def _values(document: DICOMJSON, tag: str) -> list[Any]:
    element = document.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _item(sop_class: str, instance: str) -> DICOMJSON:
    return {_CLASS: {"vr": "UI", "Value": [sop_class]}, _INSTANCE: {"vr": "UI", "Value": [instance]}}
