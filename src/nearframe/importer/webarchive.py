"""A DICOMweb archive to read from: its studies by search, its instances as they are stored there.

Instances are fetched one at a time (PS3.18 section 10.4), so that one which cannot be had costs no
other, and an interrupted run begins again at an instance and not at a study.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from io import FileIO
from typing import Any, BinaryIO, Final, TypeAlias
from urllib.parse import quote

import httpx

from nearframe.errors import (
    AccessError,
    MalformedRequest,
    NotFound,
    RequestError,
    UpstreamError,
)
from nearframe.importer.fetched import Fetched
from nearframe.importer.patience import NotNow, Patience, busy, unreachable
from nearframe.importer.replies import detail_of, json_of
from nearframe.importer.sources import Found
from nearframe.wire.mediatype import parse_media_type
from nearframe.wire.multipart import MultipartParser, PartData, PartStart

#: How many studies, or instances, one search asks for.
_PAGE: Final = 500
_AS_STORED: Final = "*"
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_SERIES_NUMBER, _INSTANCE_NUMBER = "00200011", "00200013"
_LAST: Final = 2**31  # beyond what Series and Instance Number (IS) can hold

_Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WebSource:
    """A DICOMweb archive, or some of its studies, to import from.

    Attributes
    ----------
    url
        The server, or its DICOMweb service where that is not below ``/dicomweb``.
    tenant
        Of a nearframe node; empty for its own.
    studies
        Study Instance UIDs; empty for all.
    """

    url: str
    tenant: str = ""
    studies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteInstance:
    """An instance as a search describes it; without a number it comes last."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    series_number: int = _LAST
    instance_number: int = _LAST

    @property
    def path(self) -> str:
        """Where it is, below the service."""
        series, instance = (quote(uid, safe="") for uid in (self.series_instance_uid, self.sop_instance_uid))
        return f"{study_path(self.study_instance_uid)}/series/{series}/instances/{instance}"

    @property
    def reading_order(self) -> tuple[int, str, int, str]:
        """Series by number, and instances in it."""
        return self.series_number, self.series_instance_uid, self.instance_number, self.sop_instance_uid


class WebArchive:
    """One archive. Any thread may call.

    Parameters
    ----------
    service_url
        The DICOMweb service.
    patience
        How long a request is repeated while the server is away or busy.
    """

    def __init__(self, client: httpx.Client, service_url: str, patience: Patience) -> None:
        self._client = client
        self._url = service_url
        self._patience = patience

    def studies(self) -> Iterator[str]:
        """Yield the UIDs of all studies."""
        for row in self._pages("/studies", _STUDY):
            yield _text(row, _STUDY)

    def instances(self, study_instance_uid: str) -> list[RemoteInstance]:
        """Return the instances of a study in reading order; none if it has no such study."""
        path = f"{study_path(study_instance_uid)}/instances"
        found = [
            RemoteInstance(
                study_instance_uid,
                _text(row, _SERIES),
                _text(row, _INSTANCE),
                _number(row, _SERIES_NUMBER),
                _number(row, _INSTANCE_NUMBER),
            )
            for row in self._pages(path, _INSTANCE)
        ]
        return sorted(found, key=lambda one: one.reading_order)

    def find(self, studies: Sequence[str] = ()) -> Iterator[Found]:
        """Yield the instances of some studies, or of all, to be fetched later."""
        for study in studies or self.studies():
            for instance in self.instances(study):
                yield Found(
                    name=self._url + instance.path,
                    size=0,
                    key=_key(self._url, instance),
                    open=_not_here,
                    fetch=partial(self.fetch, instance),
                    identity=(study, instance.sop_instance_uid),
                )

    def fetch(self, instance: RemoteInstance, transfer_syntax_uid: str = _AS_STORED) -> Fetched:
        """Return an instance's Part 10 file: as it is stored, or in another transfer syntax.

        Raises
        ------
        NotFound, RequestError
            If the archive does not give it.
        AccessError, UpstreamError
            If it gives nothing, or not now.
        """
        return self._patience.ask(partial(self._try_fetch, instance, transfer_syntax_uid))

    def _pages(self, path: str, key: str) -> Iterator[_Row]:
        """Yield the rows of a search, each once: what is stored meanwhile moves the pages."""
        seen: set[str] = set()
        offset = 0
        while True:
            rows = self._patience.ask(partial(self._try_search, path, offset))
            new = [row for row in rows if _text(row, key) not in seen]
            seen.update(_text(row, key) for row in new)
            yield from new
            offset += len(rows)
            # A server may give fewer than it was asked for, or all at once whatever it was asked for.
            if not new:
                return

    def _try_search(self, path: str, offset: int) -> list[_Row] | NotNow:
        params: dict[str, str | int] = {"limit": _PAGE, "offset": offset}
        try:
            reply = self._client.get(self._url + path, params=params, headers={"Accept": "application/dicom+json"})
        except httpx.TransportError as error:
            return unreachable(error)
        if later := busy(reply):
            return later
        if reply.status_code in (httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND):
            return []
        _check(reply)
        rows = json_of(reply)
        if not isinstance(rows, list):
            raise UpstreamError("the archive does not answer searches as DICOMweb does; is this its DICOMweb service?")
        return [row for row in rows if isinstance(row, dict)]

    def _try_fetch(self, instance: RemoteInstance, transfer_syntax_uid: str) -> Fetched | NotNow:
        accept = f'multipart/related; type="application/dicom"; transfer-syntax={transfer_syntax_uid}'
        with ExitStack() as cleaning:
            file = cleaning.enter_context(tempfile.TemporaryFile(buffering=0))
            try:
                with self._client.stream("GET", self._url + instance.path, headers={"Accept": accept}) as reply:
                    if reply.status_code != httpx.codes.OK:
                        reply.read()
                        if later := busy(reply):
                            return later
                        _check(reply)
                    _write_part(reply, file)
            except httpx.TransportError as error:
                return unreachable(error)
            cleaning.pop_all()
            return Fetched(file)


def study_path(study_instance_uid: str) -> str:
    """Return where a study is, below the service."""
    return f"/studies/{quote(study_instance_uid, safe='')}"


def _key(url: str, instance: RemoteInstance) -> str:
    return hashlib.sha256(f"{url}\0{instance.sop_instance_uid}".encode()).hexdigest()[:32]


def _not_here() -> BinaryIO:
    raise OSError("it was not fetched yet")


def _check(reply: httpx.Response) -> None:
    status = reply.status_code
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise AccessError(f"the archive does not let us read (HTTP {status}){detail_of(reply)}")
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise NotFound("instance at the archive")
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.NOT_ACCEPTABLE:
        raise RequestError(f"the archive does not give it (HTTP {status}){detail_of(reply)}")
    if status >= httpx.codes.MULTIPLE_CHOICES:
        raise UpstreamError(f"the archive refuses (HTTP {status}){detail_of(reply)}; is this its DICOMweb service?")


def _write_part(reply: httpx.Response, out: FileIO) -> None:
    """Write the one part of a multipart answer, or the whole of one that is none."""
    media_type = parse_media_type(reply.headers.get("content-type", "application/dicom"))
    if media_type.essence != "multipart/related":
        for chunk in reply.iter_bytes():
            out.write(chunk)
        return
    parser = MultipartParser(media_type.get("boundary") or "")
    parts = 0
    try:
        for chunk in reply.iter_bytes():
            for event in parser.feed(chunk):
                parts += isinstance(event, PartStart)
                if isinstance(event, PartData) and parts == 1:
                    out.write(event.data)
        parser.close()
    except MalformedRequest as error:
        raise RequestError(f"the archive's answer cannot be read: {error}") from error
    if parts == 0:
        raise NotFound("instance at the archive")


def _text(row: _Row, key: str) -> str:
    value = _first(row, key)
    return value if isinstance(value, str) else ""


def _number(row: _Row, key: str) -> int:
    value = _first(row, key)
    return value if type(value) is int else _LAST


def _first(row: _Row, key: str) -> object:
    attribute = row.get(key)
    values: Sequence[object] | None = attribute.get("Value") if isinstance(attribute, dict) else None
    return values[0] if isinstance(values, list) and values else None
