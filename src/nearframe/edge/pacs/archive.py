"""The archive behind an edge, asked by DICOMweb alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from nearframe.clock import Clock
from nearframe.dicomweb.address import resource
from nearframe.dicomweb.incoming import incoming_parts
from nearframe.edge.cachestatus import note_fetch
from nearframe.edge.upstream import Upstream
from nearframe.errors import (
    LimitExceeded,
    MalformedRequest,
    NotFound,
    UnsupportedMedia,
    UpstreamError,
    UpstreamUnavailable,
)
from nearframe.storage.ports import Buffer, StudyRef
from nearframe.units import MIB

#: Metadata of ten thousand instances are some 60 MB.
MAX_DOCUMENT_BYTES: Final = 256 * MIB

_JSON: Final = {"Accept": "application/dicom+json"}
#: As it is stored: without the parameter an archive decodes to Explicit VR Little Endian (PS3.18 section 8.7.3.5).
_AS_STORED: Final = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


@dataclass(frozen=True, slots=True)
class Passed:
    """An answer of the archive, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Archive:
    """Asks the archive. For one event loop."""

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self.upstream = upstream
        self._clock = clock

    async def metadata(self, study: StudyRef, series: str | None = None, instance: str | None = None) -> bytes:
        """Return the metadata of a study, series or instance as DICOM JSON.

        Raises
        ------
        NotFound
            If the archive has none.
        UpstreamError
        """
        path = resource(study.study_instance_uid, series, instance) + "/metadata"
        answer = await self._whole("GET", path, _JSON, _nothing())
        _check(answer.status, "study")
        if answer.status == 204 or not answer.body:
            raise NotFound("study")
        return answer.body

    @asynccontextmanager
    async def instance(self, study: StudyRef, series: str, instance: str) -> AsyncIterator[AsyncIterator[Buffer]]:
        """Open the file of an instance as the archive stores it.

        Raises
        ------
        NotFound
            If the archive has none.
        UpstreamError
        """
        path = resource(study.study_instance_uid, series, instance)
        async with self.upstream.forward("GET", path, {**_AS_STORED, **_IDENTITY}, _nothing()) as (
            status,
            headers,
            chunks,
        ):
            _check(status, "instance")
            found = False
            try:
                async with aclosing(incoming_parts(headers, chunks)) as parts:
                    async for part in parts:
                        if not found:
                            found = True
                            yield part.body
                        # The rest is read over, so that the connection stays usable.
            except (MalformedRequest, UnsupportedMedia, LimitExceeded) as error:
                raise UpstreamError("the archive's answer to a retrieval cannot be read") from error
            if not found:
                raise UpstreamError("the archive's answer to a retrieval holds no instance")

    async def passed(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | None = None,
    ) -> Passed:
        """Pass a reader's request on and return the answer.

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
        answer = await self._whole(method, target, headers, body or _nothing())
        if method == "GET":
            note_fetch(self._clock.monotonic() - began_s, 0.0, stored=False, collapsed=False)
        return answer

    async def _whole(self, method: str, target: str, headers: Mapping[str, str], body: AsyncIterator[bytes]) -> Passed:
        asked = {**headers, **_IDENTITY}
        async with self.upstream.forward(method, target, asked, body) as (status, answered, chunks):
            whole = bytearray()
            async for chunk in chunks:
                whole += chunk
                if len(whole) > MAX_DOCUMENT_BYTES:
                    raise UpstreamError("the archive's answer is longer than any should be")
            return Passed(status, answered, bytes(whole))


_IDENTITY: Final = {"Accept-Encoding": "identity"}


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in list[bytes]():
        yield chunk


def _check(status: int, what: str) -> None:
    if status in (200, 204):
        return
    if status in (404, 410):
        raise NotFound(what)
    if status in (401, 403):
        raise UpstreamError("the archive refuses this edge: give it the rights to query and retrieve")
    if status == 503:
        raise UpstreamUnavailable("the archive is busy")
    raise UpstreamError(f"the archive answered {status} where DICOMweb was expected; is its URL the DICOMweb root?")
