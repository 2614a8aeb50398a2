"""The archive behind an edge, asked by DICOMweb alone, when it is a request's turn on the line.

A retrieved file comes whole: archives serve no ranges of one. So it is one transfer, taken to be as
long as the last one was. What an urgent file finds before it is what was begun, and no more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from nearframe.clock import Clock
from nearframe.context import Urgency
from nearframe.dicomweb.address import resource
from nearframe.dicomweb.incoming import incoming_parts
from nearframe.edge.cachestatus import note_fetch
from nearframe.edge.pacs.haste import Haste
from nearframe.edge.pacs.shown import Shown, shown_in
from nearframe.edge.turns import User
from nearframe.edge.upstream import Upstream
from nearframe.errors import (
    LimitExceeded,
    MalformedRequest,
    NotFound,
    UnsupportedMedia,
    UpstreamError,
    UpstreamUnavailable,
)
from nearframe.query.workers import Workers
from nearframe.storage.ports import Buffer, StudyRef
from nearframe.units import KIB, MIB
from nearframe.wire.document import load_json

_REMEDY: Final = "--upstream names its DICOMweb root (of Orthanc: http://HOST:8042/dicom-web)"

#: Metadata of ten thousand instances are some 60 MB.
MAX_DOCUMENT_BYTES: Final = 256 * MIB

#: What a search or some metadata weigh, as far as anybody knows before they come.
_DOCUMENT_BYTES: Final = 32 * KIB
#: What a file weighs until one has come: a CT slice.
_FILE_BYTES: Final = 512 * KIB
#: What it counts for at most: once so much of a longer one has passed, others go beside it.
_MOST_BYTES: Final = MIB

_JSON: Final = {"Accept": "application/dicom+json"}
#: A search for what nobody has: it shows that DICOMweb is answered, and costs the archive one look into an index.
_PROBE: Final = "/studies?StudyInstanceUID=2.25.0&limit=1"
_MAX_PROBE_BYTES: Final = 64 * KIB
#: As it is stored: without the parameter an archive decodes to Explicit VR Little Endian (PS3.18 section 8.7.3.5).
_AS_STORED: Final = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


@dataclass(frozen=True, slots=True)
class Passed:
    """An answer of the archive, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class WebArchive:
    """The `ports.Archive` that is asked by DICOMweb."""

    kind: Final = "dicomweb"
    #: Most archives serve a few well and many badly.
    at_once: Final = 4
    shows_contents: Final = True

    def __init__(self, upstream: Upstream, clock: Clock, workers: Workers) -> None:
        self.upstream = upstream
        self.breaker = upstream.breaker
        self._clock = clock
        self._workers = workers
        self._file_bytes = _FILE_BYTES

    @property
    def is_reachable(self) -> bool:
        return self.upstream.is_reachable

    @property
    def last_contact_s(self) -> float | None:
        return self.upstream.last_contact_s

    async def close(self) -> None:
        await self.upstream.close()

    async def probe(self) -> None:
        patience_s = self.upstream.timeouts.first_byte_s
        async with self.upstream.exchange(
            "GET", _PROBE, headers={**_JSON, **_IDENTITY}, first_byte_s=patience_s
        ) as answer:
            _check_answers(answer.status)
            found = await self.upstream.read(answer, "answer", 0, _MAX_PROBE_BYTES)
        if found and not _is_search_result(found):
            raise UpstreamError(f"the archive answered a search with something else than DICOM JSON; {_REMEDY}")

    async def shown(
        self, study: StudyRef, haste: Haste, series: str | None = None, instance: str | None = None
    ) -> list[Shown]:
        path = resource(study.study_instance_uid, series, instance) + "/metadata"
        answer = await self._document(path, _JSON, haste)
        _check(answer.status, "study")
        if answer.status == 204 or not answer.body:
            raise NotFound("study")
        return await self._workers.run(shown_in, answer.body, study.study_instance_uid)

    @asynccontextmanager
    async def instance(
        self, study: StudyRef, series: str, instance: str, haste: Haste, sop_class: str = ""
    ) -> AsyncIterator[AsyncIterator[Buffer]]:
        path = resource(study.study_instance_uid, series, instance)
        size_bytes = min(self._file_bytes, _MOST_BYTES)
        async with self._opened(path, _AS_STORED, haste, size_bytes, kind="file") as (status, headers, chunks):
            _check(status, "instance")
            found = False
            try:
                async with aclosing(incoming_parts(headers, self._measured(chunks))) as parts:
                    async for part in parts:
                        if not found:
                            found = True
                            yield part.body
                        # The rest is read over, so that the connection stays usable.
            except (MalformedRequest, UnsupportedMedia, LimitExceeded) as error:
                raise UpstreamError("the archive's answer to a retrieval cannot be read") from error
            if not found:
                raise UpstreamError("the archive's answer to a retrieval holds no instance")

    async def passed(self, target: str, headers: Mapping[str, str], urgency: Urgency) -> Passed:
        """Pass a reader's question on and return the answer.

        Parameters
        ----------
        target
            Path below the archive's DICOMweb root, with the query.

        Raises
        ------
        UpstreamError
            If it cannot be asked, or answers at greater length than any document has.
        """
        began_s = self._clock.monotonic()
        # A list is short, and somebody looks at an empty page until it is here.
        haste = Haste(Urgency.ACTIVE if urgency is Urgency.ROUTINE else urgency)
        answer = await self._document(target, headers, haste)
        note_fetch(self._clock.monotonic() - began_s, haste.queued_s, stored=False, collapsed=False)
        return answer

    async def store(
        self, target: str, headers: Mapping[str, str], urgency: Urgency, body: AsyncIterator[bytes]
    ) -> Passed:
        """Pass a Store request on, in pieces, each when it is its turn; return and raise as `passed` does."""
        async with (
            aclosing(self.upstream.in_turns(body, urgency)) as pieces,
            self.upstream.forward("POST", target, {**headers, **_IDENTITY}, pieces) as opened,
        ):
            return await _whole(*opened)

    async def _document(self, target: str, headers: Mapping[str, str], haste: Haste) -> Passed:
        async with self._opened(target, headers, haste, _DOCUMENT_BYTES) as opened:
            return await _whole(*opened)

    @asynccontextmanager
    async def _opened(
        self, target: str, headers: Mapping[str, str], haste: Haste, size_bytes: int, kind: str = "answer"
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        """Open an answer when it is its turn: status, headers, body."""
        transfer = self.upstream.line.transfer(_user(haste.urgency), haste.urgency, size_bytes)
        asked = {**headers, **_IDENTITY}
        with haste.driving(transfer):
            async with transfer.turn():
                haste.queued_s += transfer.waited_s
                opened = self.upstream.forward(
                    "GET", target, asked, b"", transfer, kind=kind, first_byte_s=self.upstream.timeouts.archive_s
                )
                async with opened as answer:
                    yield answer

    async def _measured(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield a file's bytes, and remember how many there were: the next is probably as large."""
        size_bytes = 0
        async for chunk in chunks:
            size_bytes += len(chunk)
            yield chunk
        self._file_bytes = size_bytes


_IDENTITY: Final = {"Accept-Encoding": "identity"}


async def _whole(status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> Passed:
    whole = bytearray()
    async for chunk in chunks:
        whole += chunk
        if len(whole) > MAX_DOCUMENT_BYTES:
            raise UpstreamError("the archive's answer is longer than any should be")
    return Passed(status, headers, bytes(whole))


def _user(urgency: Urgency) -> User:
    """Return on whose behalf the line is used: at archive nobody waits yet."""
    return {Urgency.ARCHIVE: User.READ_AHEAD, Urgency.BULK: User.EXPORT}.get(urgency, User.READER)


def _check(status: int, what: str) -> None:
    if status in (404, 410):
        raise NotFound(what)
    _check_answers(status)


def _check_answers(status: int) -> None:
    if status in (200, 204):
        return
    if status in (401, 403):
        raise UpstreamError("the archive refuses this edge: give it the rights to query and retrieve")
    if status == 503:
        raise UpstreamUnavailable("the archive is busy")
    raise UpstreamError(f"the archive answered {status} where DICOMweb was expected; {_REMEDY}")


def _is_search_result(body: bytes) -> bool:
    try:
        found = load_json(body)
    except MalformedRequest:
        return False
    return isinstance(found, list) and all(isinstance(one, dict) for one in found)
