"""Running nodes, as they are asked for contents, and given some."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx

from nearframe.errors import MalformedRequest, UpstreamError, UpstreamUnavailable
from nearframe.ids import Digest, parse_digest
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.storage.scratch import EncryptedFile
from nearframe.storage.upkeep import LostContent
from nearframe.units import GIB, MIB
from nearframe.upkeep.http import DAMAGED_PATH
from nearframe.upkeep.repair import Copy
from nearframe.wire.contentstream import MEDIA_TYPE, ContentStreamReader, Data, ending, opening

_TENANT: Final = "nearframe-tenant"
_BLOCK_BYTES: Final = MIB
#: A content that is longer goes to the disk until it is proved.
_MEMORY_BYTES: Final = 4 * MIB
#: Of one request: a hundred slices with their headers.
_AT_ONCE: Final = 200
#: Longer than DICOM lets any value be, undefined lengths apart.
_MAX_LENGTH: Final = 1024 * GIB


class NodeCopies:
    """The contents that another node holds: an edge, or another origin.

    Parameters
    ----------
    folder
        For large ones, encrypted, until they are proved.
    """

    def __init__(self, client: httpx.Client, folder: Path) -> None:
        self._client = client
        self._folder = folder

    def find(self, wanted: Collection[LostContent]) -> Iterator[tuple[LostContent, Copy]]:
        """Yield what the node holds of `wanted`.

        Raises
        ------
        UpstreamUnavailable
            If it does not answer.
        """
        by_study: dict[StudyRef, dict[Digest, LostContent]] = {}
        for lost in wanted:
            by_study.setdefault(lost.study, {})[lost.digest] = lost
        for study, by_digest in by_study.items():
            digests = list(by_digest)
            while digests:
                answered = yield from self._found(study, by_digest, digests[:_AT_ONCE])
                digests = digests[answered:]

    def _found(
        self, study: StudyRef, by_digest: Mapping[Digest, LostContent], digests: Sequence[Digest]
    ) -> Generator[tuple[LostContent, Copy], None, int]:
        """Yield what one answer brings; return how many of `digests` it has dealt with.

        It ends within a content that the node cannot read to its end; those behind it have to be asked for again.
        """
        reader = ContentStreamReader(digests, max_length=_MAX_LENGTH)
        body, headers = {"digests": [digest.hex() for digest in digests]}, {_TENANT: study.tenant}
        seen = 0
        with (
            _answers(self._client),
            closing(_Received(self._folder)) as content,
            self._client.stream("POST", _contents_of(study), json=body, headers=headers) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                return len(digests)
            try:
                for event in (event for chunk in answer.iter_bytes() for event in reader.feed(chunk)):
                    if not isinstance(event, Data):
                        seen += 1
                        content.empty()
                        continue
                    content.write(event.data)
                    if event.last:
                        yield by_digest[digests[seen - 1]], content.copy()
                reader.close()
            except (httpx.RemoteProtocolError, httpx.ReadError):
                if not seen:
                    raise
                return seen
            except MalformedRequest as error:
                raise UpstreamError(f"{self._client.base_url} sends contents that cannot be read ({error})") from error
        return len(digests)


class _Received:
    """A content as it comes: in memory while it is small, then in a file that nobody else can read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._memory = bytearray()
        self._file: EncryptedFile | None = None
        self._length = 0

    def empty(self) -> None:
        """Begin another one."""
        self.close()
        self._memory = bytearray()
        self._length = 0

    def write(self, data: bytes) -> None:
        self._length += len(data)
        if self._file is None and self._length > _MEMORY_BYTES:
            self._file = EncryptedFile(self._folder)
            self._file.write(self._memory)
        if self._file is None:
            self._memory += data
        else:
            self._file.write(data)

    def copy(self) -> Copy:
        return Copy(self._length, self._chunks)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _chunks(self) -> Iterator[bytes]:
        if self._file is None:
            yield bytes(self._memory)
            return
        for at in range(0, self._length, _BLOCK_BYTES):
            yield self._file.read(at, min(_BLOCK_BYTES, self._length - at))


class RunningNode:
    """A node that runs and has lost contents."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def lost(self) -> list[LostContent]:
        with _answers(self._client):
            answer = self._client.get(DAMAGED_PATH)
        if answer.status_code != httpx.codes.OK:
            raise UpstreamError(f"{self._client.base_url} does not say what it lost ({answer.status_code})")
        return [
            LostContent(StudyRef(one["tenant"], one["study"]), parse_digest(one["digest"]), ContentKind[one["kind"]])
            for one in answer.json()["damaged"]
        ]

    def keep(self, lost: LostContent, copy: Copy) -> None:
        if lost.kind is ContentKind.DERIVED:
            return  # a node takes renditions from nobody; with the node stopped they are mended too

        def stream() -> Iterator[bytes]:
            yield opening(lost.digest, copy.length)
            yield from copy.chunks()
            yield ending(1)

        headers = {"Content-Type": MEDIA_TYPE, _TENANT: lost.study.tenant}
        query = {"kind": lost.kind.name.lower()}
        with _answers(self._client):
            answer = self._client.put(_contents_of(lost.study), params=query, content=stream(), headers=headers)
        if answer.status_code != httpx.codes.OK:
            raise UpstreamError(f"{self._client.base_url} does not take a content again ({answer.status_code})")


@contextmanager
def _answers(client: httpx.Client) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise UpstreamUnavailable(
            f"{client.base_url} does not answer ({type(error).__name__}); is it running?"
        ) from error


def _contents_of(study: StudyRef) -> str:
    return f"/api/studies/{quote(study.study_instance_uid, safe='')}/contents"
