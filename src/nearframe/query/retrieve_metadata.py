"""The metadata of instances: built once per state, kept compressed, never rebuilt for a 304."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.errors import NotFound
from nearframe.ids import Digest, Identity, sha256
from nearframe.query.freshness import Freshness, Stamp
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, FeedCursor, StudyRef
from nearframe.wire.contentcoding import IDENTITY, encode
from nearframe.wire.dictionarycoding import DCZ, MAX_DICTIONARY_BYTES, compress_against

_STATES_KEPT: Final = 10_000
_OFFERED_KEPT: Final = 100_000  # some 300 bytes each
_RENEWED_STUDIES: Final = 1_000
_RENEWED_DOCUMENTS: Final = 4  # of a study: those that were asked for last


@dataclass(frozen=True, slots=True)
class MetadataScope:
    """Whose metadata: of a study, a series or an instance.

    Attributes
    ----------
    version
        Of the instance; None for the current one.
    at_seq
        Feed sequence at which the study or series is looked at; None for now.
    """

    study: StudyRef
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None
    version: int | None = None
    at_seq: int | None = None


@dataclass(frozen=True, slots=True)
class _Key:
    scope: MetadataScope
    state: str
    service_url: str
    coding: str


class MetadataService:
    """Prepares metadata.

    Parameters
    ----------
    link
        Makes the path of an instance below the service's URL, for bulk data links.
    cache_bytes
        Prepared documents kept in memory.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        sql: Workers,
        cpu: Workers,
        freshness: Freshness,
        *,
        link: Callable[[Identity], str],
        cache_bytes: int,
    ) -> None:
        self._catalogue = catalogue
        self._sql = sql
        self._cpu = cpu
        self._freshness = freshness
        self._link = link
        self._states: SizedLRU[tuple[StudyRef, str | None], tuple[Stamp, FeedCursor]] = SizedLRU(_STATES_KEPT)
        self._documents: SizedLRU[_Key, bytes] = SizedLRU(cache_bytes)
        self._building: SingleFlight[_Key, bytes] = SingleFlight("metadata")
        #: Documents that clients may have kept, by digest: each can be built again.
        self._offered: SizedLRU[Digest, _Key] = SizedLRU(_OFFERED_KEPT)
        #: What was asked for of how studies stand, whatever their state: to be renewed when they change.
        self._asked: SizedLRU[StudyRef, deque[tuple[MetadataScope, str, str]]] = SizedLRU(_RENEWED_STUDIES)
        self.built = 0

    async def state(self, scope: MetadataScope) -> str:
        """Return a token for the present state of `scope`: equal tokens, equal metadata.

        Raises
        ------
        NotFound
            If there is no such study or series.
        """
        key = (scope.study, scope.series_instance_uid)
        known = self._states.get(key)
        if known is None or not known[0].valid:
            stamp = self._freshness.stamp(scope.study)
            known = (stamp, await self._sql.run(self._state, *key))
            self._states.put(key, known, 1)
        now = known[1]
        if scope.at_seq is not None:
            return f"{now.epoch}.at{scope.at_seq}"
        version = "" if scope.version is None else f".v{scope.version}"
        return f"{now.epoch}.{now.seq}{version}"

    def held(self, scope: MetadataScope, state: str, service_url: str, coding: str) -> bytes | None:
        """Return a prepared document if it is in memory."""
        return self._documents.get(_Key(scope, state, service_url, coding))

    async def json(self, scope: MetadataScope, state: str, service_url: str, coding: str) -> bytes:
        """Return the metadata as a DICOM JSON array, in a content coding.

        Parameters
        ----------
        state
            What `state` returned; the document is remembered under it.
        service_url
            What bulk data links start with.
        coding
            One of `CODINGS`, or ``identity``.

        Raises
        ------
        NotFound
            If the scope holds no instance.
        """
        key = _Key(scope, state, service_url, coding)
        held = self._documents.get(key)
        return held if held is not None else await self._building.run(key, partial(self._build, key))

    async def renew(self, study: StudyRef) -> None:
        """Build what was asked for of a study once more, now that it has changed.

        Whoever opens it next does not wait for that: of 300 slices it takes longer than a line's round trip.
        """
        for scope, service_url, coding in list(self._asked.get(study) or ()):
            try:
                await self.json(scope, await self.state(scope), service_url, coding)
            except NotFound:  # the series is gone
                self._asked.discard(study)

    async def offer(self, scope: MetadataScope, state: str, service_url: str) -> bool:
        """Remember that a client may keep this document as a dictionary; False if it is too large for one."""
        plain = await self.json(scope, state, service_url, IDENTITY)
        if len(plain) > MAX_DICTIONARY_BYTES:
            return False
        digest = await self._cpu.run(sha256, plain)
        self._offered.put(digest, _Key(scope, state, service_url, IDENTITY), 1)
        return True

    async def against(self, scope: MetadataScope, state: str, service_url: str, dictionary: Digest) -> bytes | None:
        """Return the metadata compressed against a document that a client has kept.

        None if it was not offered for this study, or nothing is gained.
        """
        offered = self._offered.get(dictionary)
        # How well something compresses against another study's metadata would tell of that.
        if offered is None or offered.scope.study != scope.study:
            return None
        key = _Key(scope, state, service_url, f"{DCZ}-{dictionary.hex()}")
        held = self._documents.get(key)
        if held is None:
            before = await self.json(offered.scope, offered.state, offered.service_url, IDENTITY)
            plain = await self.json(scope, state, service_url, IDENTITY)
            if sha256(before) != dictionary:  # versions of that time were purged
                return None
            held = await self._cpu.run(compress_against, plain, before)
            if len(held) >= len(await self.json(scope, state, service_url, "zstd")):
                return None
            self._documents.put(key, held, len(held))
        return held

    async def instances(self, scope: MetadataScope, service_url: str) -> list[bytes]:
        """Return the metadata of each instance as a DICOM JSON object."""
        rows = await self._rows(scope)
        return await self._cpu.run(_linked, rows, scope.version, service_url, self._link)

    def _state(self, study: StudyRef, series_instance_uid: str | None) -> FeedCursor:
        # A restore starts a new epoch, and its sequences again where the backup ended.
        epoch = self._catalogue.head().epoch
        return FeedCursor(epoch, self._catalogue.state(study, series_instance_uid))

    async def _build(self, key: _Key) -> bytes:
        rows = await self._rows(key.scope)
        document = await self._cpu.run(_document, rows, key.scope.version, key.service_url, self._link, key.coding)
        self.built += 1
        self._remember(key)
        self._documents.put(key, document, len(document))
        return document

    def _remember(self, key: _Key) -> None:
        if key.scope.version is not None or key.scope.at_seq is not None:
            return  # it never changes
        asked = self._asked.get(key.scope.study) or deque(maxlen=_RENEWED_DOCUMENTS)
        wanted = (key.scope, key.service_url, key.coding)
        if wanted not in asked:
            asked.append(wanted)
        self._asked.put(key.scope.study, asked, 1)

    async def _rows(self, scope: MetadataScope) -> list[tuple[Identity, bytes]]:
        rows = await self._sql.run(
            self._catalogue.metadata,
            scope.study,
            scope.series_instance_uid,
            scope.sop_instance_uid,
            version=scope.version,
            at_seq=scope.at_seq,
        )
        if not rows:
            raise NotFound("instance")
        return rows


def _linked(
    rows: Iterable[tuple[Identity, bytes]], version: int | None, service_url: str, link: Callable[[Identity], str]
) -> list[bytes]:
    """Make the bulk data links of each row absolute.

    They stand in compact JSON as ``"BulkDataURI":"bulkdata/…"``; inside a string value the
    quotes would be escaped, so no value can be taken for a link.
    """
    suffix = b"" if version is None else f"?version={version}".encode()
    linked = []
    for identity, row in rows:
        url = json.dumps(f"{service_url}{link(identity)}/", ensure_ascii=False)[1:-1].encode()
        head, *links = row.split(_LINK)
        for at, rest in enumerate(links if suffix else ()):
            path, quote, tail = rest.partition(b'"')
            links[at] = path + suffix + quote + tail
        linked.append((b'"BulkDataURI":"' + url + b"bulkdata/").join([head, *links]))
    return linked


_LINK: Final = b'"BulkDataURI":"bulkdata/'


def _document(
    rows: Iterable[tuple[Identity, bytes]],
    version: int | None,
    service_url: str,
    link: Callable[[Identity], str],
    coding: str,
) -> bytes:
    return encode(b"[" + b",".join(_linked(rows, version, service_url, link)) + b"]", coding)
