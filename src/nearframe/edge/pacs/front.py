"""What is answered from here and what is passed on, at an edge in front of an archive.

==========================================  =======================================================
request                                     answered, where the archive speaks DICOMweb
==========================================  =======================================================
search across studies                       by the archive; from here while it is away
search or metadata within a study           from here once the study is here whole, compared again
                                            on opening; until then by the archive, while the study
                                            is being brought here
an instance, its frames, bulk data          from here; the instance is retrieved first if need be
a whole study or series                     from here, once all of it is here
a link of the archive's own (bulk data)     by the archive
store                                       by the archive, as it comes in
==========================================  =======================================================

One that speaks no DICOMweb is passed nothing. Searches ask it themselves (`dicomsearch`), metadata of
a series or study come once all of that is here, and what is stored is taken in here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nearframe.context import Urgency
from nearframe.dicomweb.address import ROOT
from nearframe.dicomweb.boundary import guarded
from nearframe.dicomweb.call import Gate
from nearframe.edge.pacs.mirror import Mirror
from nearframe.edge.pacs.passing import Passing
from nearframe.errors import NotFound, UpstreamError, UpstreamUnavailable
from nearframe.ids import normalise_uid
from nearframe.storage.ports import StudyRef

#: A study compared so recently is not compared again when somebody opens it.
FRESH_S: Final = 5.0
#: How long an opening waits for the comparison; then what is here is shown, with its age.
PATIENCE_S: Final = 2.0

#: What whoever opens a study asks for.
_OPENING: Final = "metadata"
#: What is below an instance that our own application answers.
_OURS: Final = frozenset({"", "metadata", "frames", "rendered", "thumbnail", "bulkdata"})
_SEARCHES: Final = frozenset({"studies", "series", "instances"})
#: What an archive that speaks DICOMweb can tell of a study at once.
_TOLD: Final = frozenset({"metadata", "series", "instances"})
_AWAY: Final = "the archive behind this edge is away, and this is not here: what was opened before is served"
#: Of a list that may lack something, for a Warning header.
IN_PART: Final = "the archive is away: only what was opened before is shown"


@dataclass(frozen=True, slots=True)
class Place:
    """What a path below the DICOMweb root names.

    Attributes
    ----------
    rest
        What follows the UIDs: ``metadata``, ``frames/1``, ``instances``; empty for the thing itself.
    """

    study: str | None
    series: str | None
    instance: str | None
    rest: str

    @classmethod
    def of(cls, path: str) -> Place:
        """Read a path; what is not below a study has no study, and its whole path as `rest`."""
        parts = [unquote(part) for part in path.removeprefix(ROOT).strip("/").split("/")]
        uids: list[str | None] = [None, None, None]
        for level, name in enumerate(("studies", "series", "instances")):
            if len(parts) < 2 or parts[0] != name:
                break
            uids[level] = normalise_uid(parts[1])
            parts = parts[2:]
        return cls(uids[0], uids[1], uids[2], "/".join(parts))


class Asked(Protocol):
    """Told that something of a study is asked for."""

    def __call__(self, study: StudyRef, *, is_opening: bool) -> None: ...


class PacsFront:
    """Decides who answers. The outermost layer but for the headers.

    Parameters
    ----------
    passing
        Passes requests on to the archive; None for one that speaks no DICOMweb.
    asked
        Told of each study of which something is asked for, and whether that is to open it.
    """

    def __init__(
        self,
        app: ASGIApp,
        passing: Passing | None,
        mirror: Mirror,
        gate: Gate,
        asked: Asked,
    ) -> None:
        self._app = app
        self._passing = passing
        self._mirror = mirror
        self._gate = gate
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD", "POST"):
            await self._app(scope, receive, send)
            return
        place = Place.of(scope["path"])
        request = Request(scope, receive)
        response = await guarded(request, "pacs", lambda request: self._answer(request, place))
        if response is _HERE or response is _HERE_ALONE:
            headers = self._headers(scope, place, is_alone=response is _HERE_ALONE)
            await self._app(scope, receive, _with_headers(send, headers))
        else:
            await response(scope, receive, send)

    async def _answer(self, request: Request, place: Place) -> Response:
        """Return the archive's answer, or `_HERE` if this edge answers, `_HERE_ALONE` for want of the archive."""
        passing = self._passing
        if request.method == "POST":
            return await self._store(request, place, passing) if passing and _is_store(place) else _HERE
        if place.study is None:
            return await self._search(request, passing) if passing and place.rest in _SEARCHES else _HERE
        context = self._gate(request.scope)
        study = StudyRef(context.tenant, place.study)
        self._asked(study, is_opening=place.rest == _OPENING)
        if passing and place.instance is not None and place.rest.partition("/")[0] not in _OURS:
            return await passing.question(request, "pacs_link")
        if self._mirror.is_whole(study):
            await self._reopened(study, place, context.urgency)
            return _HERE
        return await self._first_time(request, study, place, context.urgency)

    async def _first_time(self, request: Request, study: StudyRef, place: Place, urgency: Urgency) -> Response:
        self._mirror.begin(study, max(urgency, Urgency.ARCHIVE))  # the rest of it nobody waits for yet
        try:
            if place.series is not None and place.instance is not None:
                await self._mirror.bring_instance(study, place.series, place.instance, urgency)
            elif place.rest in _TOLD and self._passing:
                return await self._passing.question(request, "pacs_opened")
            elif place.rest in _SEARCHES:
                return _HERE  # the search asks the archive itself
            elif place.series is not None:
                await self._mirror.bring_series(study, place.series, urgency)
            else:
                await self._mirror.bring_study(study, urgency)
        except UpstreamUnavailable as error:
            # A list in part is of use, and says what it is; a study in part is not.
            if place.rest in ("", "rendered", "thumbnail") or not await self._mirror.holds_some(study):
                raise UpstreamUnavailable(_AWAY) from error
            return _HERE_ALONE
        except NotFound:
            # What was taken in here is shown before the archive has it.
            if not await self._mirror.holds_some(study):
                raise
        return _HERE

    async def _reopened(self, study: StudyRef, place: Place, urgency: Urgency) -> None:
        """Compare a study that somebody opens, and wait a little for the result."""
        age_s = self._mirror.age_s(study)
        if place.rest != _OPENING or age_s is None or age_s < FRESH_S:
            return
        await asyncio.wait([self._mirror.begin(study, urgency)], timeout=PATIENCE_S)

    async def _search(self, request: Request, passing: Passing) -> Response:
        try:
            return await passing.question(request, "search")
        except UpstreamError:
            return _HERE_ALONE  # among what was opened before

    async def _store(self, request: Request, place: Place, passing: Passing) -> Response:
        answer = await passing.store(request)
        if place.study is not None:
            study = StudyRef(self._gate(request.scope).tenant, place.study)
            self._mirror.begin(study)
        return answer

    def _headers(self, scope: Scope, place: Place, *, is_alone: bool) -> list[tuple[bytes, bytes]]:
        """Say how old what is shown of a study is, and if it may not be all there is."""
        age_s = None if place.study is None else self._mirror.age_s(StudyRef(self._gate(scope).tenant, place.study))
        headers = [] if age_s is None else [(b"age", b"%d" % age_s)]
        if is_alone:
            headers += [(b"nearframe-upstream", b"away"), (b"warning", f'299 nearframe "{IN_PART}"'.encode())]
        return headers


#: Stand for: our own application answers, as well as the archive could, or with what there is.
_HERE: Final = Response()
_HERE_ALONE: Final = Response()


def _is_store(place: Place) -> bool:
    """Return whether what is posted there is stored (PS3.18 section 10.5.1)."""
    return place.rest == ("studies" if place.study is None else "") and place.series is None


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return sending if headers else send
