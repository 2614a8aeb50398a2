"""Running nodes, as they are asked for contents, and given some."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx

from nearframe.errors import UpstreamError, UpstreamUnavailable
from nearframe.ids import parse_digest
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.storage.scratch import EncryptedFile
from nearframe.storage.upkeep import LostContent
from nearframe.units import MIB
from nearframe.upkeep.http import DAMAGED_PATH
from nearframe.upkeep.repair import Copy
from nearframe.wire.contentstream import MEDIA_TYPE, ending, opening

_TENANT: Final = "nearframe-tenant"
_BLOCK_BYTES: Final = MIB


class NodeCopies:
    """The contents that another node holds: an edge, or another origin.

    Parameters
    ----------
    folder
        For what comes, encrypted, until it is proved.
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
        for lost in wanted:
            with closing(EncryptedFile(self._folder)) as file:
                length = self._fetch(lost, file)
                if length is not None:
                    yield lost, Copy(length, partial(_blocks, file, length))

    def _fetch(self, lost: LostContent, file: EncryptedFile) -> int | None:
        path = f"{_contents_of(lost.study)}/{lost.digest.hex()}"
        length = 0
        with _answers(self._client), self._client.stream("GET", path, headers={_TENANT: lost.study.tenant}) as answer:
            if answer.status_code != httpx.codes.OK:
                return None
            for chunk in answer.iter_bytes():
                file.write(chunk)
                length += len(chunk)
        return length


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


def _blocks(file: EncryptedFile, length: int) -> Iterator[bytes]:
    for at in range(0, length, _BLOCK_BYTES):
        yield file.read(at, min(_BLOCK_BYTES, length - at))
