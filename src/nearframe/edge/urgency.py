"""How urgent a request at an edge is: what it says of itself, and what its study is."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from nearframe.context import Context, Urgency
from nearframe.dicomweb.address import ROOT
from nearframe.dicomweb.call import Gate
from nearframe.edge import cachestatus
from nearframe.edge.keeper import Keeper
from nearframe.edge.routes import RequestFacts
from nearframe.edge.tiers import Departed
from nearframe.metrics import EDGE_MISSES, Metrics
from nearframe.storage.ports import StudyRef

_STUDIES: Final = "/studies/"
_CONTEXTS_KEPT: Final = 1024
_SEARCHES: Final = ("series", "instances")
_MISSED: Final = {
    Departed.NOT: "cold",
    Departed.EVICTED: "evicted",
    Departed.EXPIRED: "expired",
    Departed.PURGED: "purged",
}


class UrgencyGate:
    """A gate that decides the class of each request, and notes which studies are used.

    It is on the way of every frame: nothing is made here that was made before.
    """

    def __init__(self, gate: Gate, keeper: Keeper, metrics: Metrics) -> None:
        self._gate = gate
        self._keeper = keeper
        self._metrics = metrics
        #: A context as it came, and as it is at each class.
        self._raised: dict[int, tuple[Context, list[Context]]] = {}

    def __call__(self, scope: Scope) -> Context:
        context = self._gate(scope)
        path: str = scope["path"]
        begin = path.find(_STUDIES)
        if begin < 0:
            return context
        begin += len(_STUDIES)
        end = path.find("/", begin)
        uid = path[begin:] if end < 0 else path[begin:end]
        request = None
        if self._keeper.table.looks_at_requests:
            client = scope.get("client")
            request = RequestFacts(client[0] if client else "", path)
        decided = self._keeper.asked(context.tenant, uid, context.urgency, request, is_use=_reads(path))
        noted = cachestatus.notes.get()
        if noted is not None:
            noted.urgency, noted.study = decided, (context.tenant, uid)
        return context if decided is context.urgency else self._at(context, decided)

    def _at(self, context: Context, urgency: Urgency) -> Context:
        known = self._raised.get(id(context))
        if known is None or known[0] is not context:
            if len(self._raised) >= _CONTEXTS_KEPT:
                self._raised.clear()
            known = self._raised[id(context)] = context, [context.at(one) for one in Urgency]
        return known[1][urgency]

    def fetched(self, noted: cachestatus.Notes) -> None:
        """Count what a request found missing, once its answer has ended."""
        if noted.fetched and noted.urgency is not None and noted.study is not None:
            if noted.urgency is Urgency.BULK:
                reason = "bypass"
            else:
                tier = self._keeper.find(StudyRef(*noted.study))
                reason = _MISSED[Departed.NOT if tier is None else tier.departed]
            self._metrics.add(EDGE_MISSES, noted.fetched, urgency=noted.urgency.name.lower(), reason=reason)


def is_of_images(path: str) -> bool:
    """Return whether a request is DICOMweb's, or reads a study in another way."""
    return path.startswith(ROOT) or "/contents" in path or path.endswith("/sync")


def _reads(path: str) -> bool:
    """Return whether a request reads a study: a search within it does not, nor a question about its state."""
    return is_of_images(path) and not (path.startswith(ROOT) and path.endswith(_SEARCHES))
