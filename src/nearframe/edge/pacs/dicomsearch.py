"""Searches by DICOMweb (PS3.18 section 10.6) of an archive that answers C-FIND alone.

Each key is asked at its own level, from the study down, since not every archive answers
relational queries: a search of all series costs a question for each study that matches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import zip_longest
from typing import Final

from nearframe.context import Context
from nearframe.dicom.levels import Level, level_of
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.identifiers import QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, is_uid, text_of
from nearframe.dimse.scu_query import identifier_of
from nearframe.dimse.scu_walk import LEVELS, walk
from nearframe.edge.cachestatus import note_fetch
from nearframe.edge.pacs.dicomarchive import DICOMArchive
from nearframe.edge.pacs.front import IN_PART
from nearframe.edge.pacs.mirror import Mirror
from nearframe.errors import UpstreamError
from nearframe.query.qido import Query, parse_path, parse_query, vr_of
from nearframe.query.search import MORE_RESULTS, SearchAnswer
from nearframe.query.searches import Question
from nearframe.storage.catalogue.answers import prepare
from nearframe.storage.catalogue.attributes import element
from nearframe.storage.ports import StudyRef

#: Attributes of an answer (PS3.18 Tables 10.6.3-3 to -5), as far as an archive may have them at hand.
_ANSWERED: Final = (
    (
        "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "ReferringPhysicianName", "PatientName",
        "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID", "StudyDescription",
        "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
    ),
    ("Modality", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "NumberOfSeriesRelatedInstances"),
    ("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames"),
)  # fmt: skip
_PATHS: Final = ("studies", "series", "instances")
_OF_THE_QUERY: Final = frozenset({QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, "00080005"})
_AVAILABILITY: Final = "00080056"


class DICOMSearch:
    """Answers searches: from here what is here whole, else by asking the archive. For one event loop.

    Parameters
    ----------
    max_results
        Rows of one answer, whatever its limit: then a warning says that there are more.
    """

    def __init__(self, archive: DICOMArchive, mirror: Mirror, max_results: int) -> None:
        self._archive = archive
        self._mirror = mirror
        self._max_results = max_results

    async def ask(
        self, context: Context, question: Question, here: Callable[[], Awaitable[SearchAnswer]]
    ) -> SearchAnswer:
        """Answer a question; from what is here, if the archive is away.

        Raises
        ------
        MalformedRequest
            If a parameter cannot be read.
        """
        study = None if question.study is None else StudyRef(context.tenant, question.study)
        named = [uid for uid in (question.study, question.series) if uid is not None]
        if (study is not None and self._mirror.is_whole(study)) or not all(map(is_uid, named)):
            return await here()
        try:
            found = await self._found(question)
        except UpstreamError:
            answer = await here()
            return replace(answer, warnings=(*answer.warnings, IN_PART))
        if not found.rows and study is not None:
            return await here()  # what was taken in here, and is on its way
        return found

    async def _found(self, question: Question) -> SearchAnswer:
        query = parse_query(question.params)
        limit = self._max_results if query.limit is None else min(query.limit, self._max_results)
        keys = keys_of(question, query)
        rows: list[bytes] = []
        skipped, is_more, began_s = 0, False, asyncio.get_running_loop().time()
        async with self._archive.questions() as requests, aclosing(walk(requests, *keys)) as matches:
            async for match in matches:
                if skipped < query.offset:
                    skipped += 1
                elif len(rows) < limit:
                    rows.append(_row(match, question.level))
                else:
                    is_more = True
                    break
        note_fetch(asyncio.get_running_loop().time() - began_s, 0.0, stored=False, collapsed=False)
        is_capped = is_more and (query.limit is None or query.limit > limit)
        return SearchAnswer(rows, (MORE_RESULTS,) if is_capped else ())


def keys_of(question: Question, query: Query) -> list[dict[str, str]]:
    """Return the keys of each level, down to that of the question."""
    levels = [level for level in Level if level <= question.level]
    keys = [dict.fromkeys(identifier_of(dict.fromkeys(_ANSWERED[level - 1], "")), "") for level in levels]
    for tag in query.include:
        _at(keys, tag)[tag] = ""
    is_fuzzy = ("fuzzymatching", "true") in ((name, value.lower()) for name, value in question.params)
    for name, value in question.params:
        path = parse_path(name)
        if path is not None:
            _at(keys, path[0])[".".join(path)] = _value(path[-1], value, is_fuzzy=is_fuzzy)
    for (_, _, tag), uid in zip(LEVELS, (question.study, question.series), strict=False):
        if uid is not None:
            _at(keys, tag)[tag] = uid
    return keys


def _at(keys: Sequence[dict[str, str]], tag: str) -> dict[str, str]:
    return keys[min(level_of(tag), len(keys)) - 1]


def _value(tag: str, value: str, *, is_fuzzy: bool) -> str:
    """Return a value as C-FIND has it: alternatives with backslashes, and a word of a name with wildcards."""
    if vr_of(tag) == "UI":
        return value.replace(",", "\\")
    if is_fuzzy and vr_of(tag) == "PN" and value and not set("*?") & set(value):
        return f"*{value}*"
    return value


def _row(match: tuple[DICOMJSON, ...], level: Level) -> bytes:
    row: DICOMJSON = {}
    for part in match:
        row |= {tag: value for tag, value in part.items() if tag not in _OF_THE_QUERY}
    if not text_of(row, _AVAILABILITY):
        row[_AVAILABILITY] = element("CS", ["ONLINE"])
    uids = (text_of(part, tag) for part, (_, _, tag) in zip(match, LEVELS, strict=False))
    return prepare(row, *(name for pair in zip_longest(_PATHS[:level], uids) for name in pair))
