"""Searches as pages ready to send. Viewers ask the same thing twice in a row: it is answered once."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.context import Context, Scope
from nearframe.dicom.dicomxml import to_xml
from nearframe.dicom.levels import Level
from nearframe.ids import Digest, sha256
from nearframe.query.freshness import Freshness
from nearframe.query.search import SearchAnswer, SearchService
from nearframe.query.workers import Workers
from nearframe.units import MIB
from nearframe.wire import multipart
from nearframe.wire.contentcoding import IDENTITY, encode

#: A page is given again while nothing changed here, and no longer than this: other processes write too.
KEPT_S: Final = 2.0
_KEPT_BYTES: Final = 8 * MIB
#: Smaller answers are not worth compressing.
_COMPRESS_FROM_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Question:
    """A search and the form of its answer.

    Attributes
    ----------
    params
        Query parameters in the order received.
    xml_boundary
        For an answer in XML, one part a match; empty for JSON.
    coding
        Content coding the client takes.
    """

    level: Level
    params: tuple[tuple[str, str], ...]
    study: str | None
    series: str | None
    service_url: str
    xml_boundary: str = ""
    coding: str = IDENTITY


@dataclass(frozen=True, slots=True)
class Page:
    """An answer.

    Attributes
    ----------
    coding
        The content coding it is in.
    digest
        Of `body`.
    warnings
        Texts for Warning headers.
    """

    body: bytes
    coding: str
    digest: Digest
    warnings: tuple[str, ...]


#: Answers a question, given what answers it from the catalogue.
Asking: TypeAlias = Callable[[Context, Question, Callable[[], Awaitable[SearchAnswer]]], Awaitable[SearchAnswer]]


async def _here(_: Context, __: Question, here: Callable[[], Awaitable[SearchAnswer]]) -> SearchAnswer:
    return await here()


class Searches:
    """Answers searches, and remembers the answers for a moment.

    Parameters
    ----------
    asking
        Who is asked first, where that is not the catalogue.
    """

    def __init__(
        self,
        search: SearchService,
        sql: Workers,
        freshness: Freshness,
        monotonic: Callable[[], float] = time.monotonic,
        asking: Asking = _here,
    ) -> None:
        self._search = search
        self._asking = asking
        self._sql = sql
        self._freshness = freshness
        self._monotonic = monotonic
        self._pages: SizedLRU[_Key, _Kept] = SizedLRU(_KEPT_BYTES)
        self._flights: SingleFlight[_Key, Page] = SingleFlight("search")
        self.searched = 0

    async def page(self, context: Context, question: Question) -> Page:
        """Return the answer to a search.

        Raises
        ------
        MalformedRequest
            If a parameter cannot be read.
        """
        # The generation is part of the key: an answer begun before a change is never given after it.
        key = _Key(context.tenant, context.scope, question, self._freshness.generation)
        kept = self._pages.get(key)
        if kept is not None and self._monotonic() < kept.until:
            return kept.page
        return await self._flights.run(key, partial(self._ask, context, key))

    async def _ask(self, context: Context, key: _Key) -> Page:
        answer = await self._asking(context, key.question, partial(self._in_catalogue, context, key.question))
        page = await self._sql.run(_page, answer, key.question)
        self.searched += 1
        self._pages.put(key, _Kept(page, self._monotonic() + KEPT_S), len(page.body))
        return page

    async def _in_catalogue(self, context: Context, question: Question) -> SearchAnswer:
        find = self._search.search
        return await self._sql.run(find, context, question.level, question.params, question.study, question.series)


@dataclass(frozen=True, slots=True)
class _Key:
    tenant: str
    scope: Scope
    question: Question
    generation: int


@dataclass(frozen=True, slots=True)
class _Kept:
    page: Page
    until: float


def _page(found: SearchAnswer, question: Question) -> Page:
    body = found.render(question.service_url)
    if question.xml_boundary:
        documents = [("application/dicom+xml", to_xml(match)) for match in json.loads(body)]
        body = multipart.joined(question.xml_boundary, documents)
    coding = question.coding if len(body) >= _COMPRESS_FROM_BYTES else IDENTITY
    body = encode(body, coding, once=True)
    return Page(body, coding, sha256(body), found.warnings)
