"""Storing files on a DICOMweb server (PS3.18 section 10.5), as patiently as the line needs."""

from __future__ import annotations

import uuid
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import httpx

from nearframe.errors import AccessError, UpstreamError, UpstreamUnavailable
from nearframe.importer.answer import OUT_OF_RESOURCES, Answer, Said, read_answer
from nearframe.importer.archives import UNPACKING_ERRORS
from nearframe.importer.pace import Pace
from nearframe.importer.patience import NotNow, Patience, busy, retry_after_s, unreachable
from nearframe.importer.replies import detail_of, json_of
from nearframe.importer.sources import Found, identity_of
from nearframe.units import MIB
from nearframe.wire import multipart

_SEND_BYTES = MIB
_PART_TYPE = "application/dicom"
_FORBIDDEN = (401, 403, 407)
#: The target is not a place to store to at all: no other file will fare better.
_WRONG_TARGET = (301, 302, 307, 308, 404, 405, 406, 415)
_FULL = 507


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one file.

    Attributes
    ----------
    code
        Warning or Failure Reason, or None.
    reason
        The same in words; empty for a file stored without warning.
    """

    file: Found
    stored: bool
    code: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file ready to be sent: a small one is read beforehand, so that an error spoils no request."""

    file: Found
    data: bytes | None

    def chunks(self) -> Iterator[bytes]:
        """Yield exactly as many bytes as the file had when it was found.

        Raises
        ------
        OSError
            If it cannot be read, or not to that length.
        """
        if self.data is not None:
            yield self.data
            return
        rest = self.file.size
        try:
            with self.file.open() as stream:
                while rest and (chunk := stream.read(min(_SEND_BYTES, rest))):
                    rest -= len(chunk)
                    yield chunk
        except UNPACKING_ERRORS as error:
            raise OSError(f"cannot be read: {error}") from error
        if rest:
            raise OSError("became shorter after it was found")


def load(file: Found, most_bytes: int) -> Loaded:
    """Read a file of up to `most_bytes`; a larger one is read as it is sent.

    Raises
    ------
    OSError
        If it cannot be read in full.
    """
    if file.size > most_bytes:
        return Loaded(file, None)
    return Loaded(file, b"".join(Loaded(file, None).chunks()))


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    answer: Answer
    text: str

    @property
    def out_of_resources(self) -> bool:
        failures = (*self.answer.failed, *self.answer.unnamed)
        return bool(failures) and all(said.code in OUT_OF_RESOURCES for said in failures)


class Sender:
    """Sends batches to one server. Any thread may call.

    Parameters
    ----------
    url
        The DICOMweb service: instances go to ``{url}/studies``.
    patience
        How long one batch is tried again while the server is away or busy.
    pace
        How fast its bytes go.
    """

    def __init__(self, client: httpx.Client, url: str, patience: Patience, pace: Pace) -> None:
        self._client = client
        self._url = f"{url}/studies"
        self._patience = patience
        self._pace = pace

    def store(self, batch: Sequence[Loaded]) -> Iterator[Verdict]:
        """Store a batch and yield what became of each file.

        Raises
        ------
        UpstreamUnavailable
            If the server stayed away or busy.
        AccessError, UpstreamError
            If the server refuses all of it.
        OSError
            If a file that is read as it is sent cannot be read.
        """
        response = self._patience.ask(partial(self._try, batch))
        if response.status == 200 and not response.answer.warns:
            yield from (Verdict(loaded.file, stored=True) for loaded in batch)
        elif len(batch) == 1:
            yield _only_verdict(batch[0].file, response)
        else:
            yield from self._sort_out(batch, response.answer)

    def _sort_out(self, batch: Sequence[Loaded], answer: Answer) -> Iterator[Verdict]:
        """Match what was said by UID with the files; one that nothing was said of is sent on its own."""
        said = _by_uid(answer)
        for loaded in batch:
            uid = _sop_instance_uid(loaded.file)
            if said[uid]:
                yield _verdict(loaded.file, *said[uid].popleft())
            else:
                yield from self.store([loaded])

    def _try(self, batch: Sequence[Loaded]) -> _Response | NotNow:
        try:
            reply = self._post(batch)
        except httpx.TransportError as error:
            return unreachable(error)
        if later := busy(reply):
            return later
        _check_target(reply)
        response = _Response(reply.status_code, read_answer(json_of(reply)), detail_of(reply))
        if response.out_of_resources and not response.answer.stored:
            return NotNow("the server is out of resources", retry_after_s(reply.headers))
        return response

    def _post(self, batch: Sequence[Loaded]) -> httpx.Response:
        boundary = f"nf-{uuid.uuid4().hex}"
        heads = [
            multipart.part_head(boundary, _PART_TYPE, first=index == 0, length=loaded.file.size)
            for index, loaded in enumerate(batch)
        ]
        end = multipart.closing(boundary)
        size = sum(map(len, heads)) + sum(loaded.file.size for loaded in batch) + len(end)

        def body() -> Iterator[bytes]:
            for head, loaded in zip(heads, batch, strict=True):
                yield head
                for chunk in loaded.chunks():
                    self._pace.spend(len(chunk))
                    yield chunk
            yield end

        headers = {
            "Content-Type": f'multipart/related; type="{_PART_TYPE}"; boundary={boundary}',
            "Content-Length": str(size),
            "Accept": "application/dicom+json",
        }
        return self._client.post(self._url, content=body(), headers=headers)


_ByUID: TypeAlias = "defaultdict[str, deque[tuple[bool, Said]]]"


def _by_uid(answer: Answer) -> _ByUID:
    found: _ByUID = defaultdict(deque)
    for said in answer.stored:
        found[said.uid].append((True, said))
    for said in answer.failed:
        if said.code not in OUT_OF_RESOURCES:  # that one deserves another try
            found[said.uid].append((False, said))
    found.pop("", None)
    return found


def _verdict(file: Found, stored: bool, said: Said) -> Verdict:
    return Verdict(file, stored, said.code, said.reason)


def _only_verdict(file: Found, response: _Response) -> Verdict:
    answer = response.answer
    if answer.stored:
        return _verdict(file, True, answer.stored[0])
    failures = (*answer.failed, *answer.unnamed)
    if failures:
        return _verdict(file, False, failures[0])
    if response.status in (200, 202):
        return Verdict(file, stored=True)
    return Verdict(file, stored=False, reason=f"HTTP {response.status}{response.text}")


def _sop_instance_uid(file: Found) -> str:
    """Return the UID of a file, or an empty string: it is then sent on its own."""
    identity = identity_of(file)
    return "" if identity is None else identity[1]


def _check_target(reply: httpx.Response) -> None:
    status = reply.status_code
    if status in _FORBIDDEN:
        raise AccessError(f"the server does not let us store (HTTP {status}){detail_of(reply)}")
    if status in _WRONG_TARGET:
        raise UpstreamError(f"no place to store to: HTTP {status}{detail_of(reply)}; --to names the DICOMweb service")
    if status == _FULL:
        raise UpstreamUnavailable("the server's disk is full (HTTP 507); free space there and run the import again")
