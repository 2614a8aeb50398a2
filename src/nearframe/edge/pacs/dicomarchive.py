"""The archive behind an edge, asked by DICOM's own protocol (PS3.4 Annex C).

What it shows of an instance are its UIDs, and the attributes below of the study, the series and
the instance: a corrected name is seen. What else changes in an object under its UID is not.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import cache
from typing import Final

from nearframe.clock import Clock
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.identifiers import is_uid, text_of
from nearframe.dimse.requests import Requests
from nearframe.dimse.scu import UNCOMPRESSED, Peer
from nearframe.dimse.scu_query import Level, find, identifier_of
from nearframe.dimse.scu_walk import LEVELS, walk
from nearframe.edge.pacs.contact import Contact
from nearframe.edge.pacs.haste import Haste
from nearframe.edge.pacs.retrievals import Retrievals
from nearframe.edge.pacs.shown import Shown
from nearframe.edge.pacs.wanted import MOST_IN_BATCH, Body, Wanted
from nearframe.errors import NotFound
from nearframe.ids import sha256
from nearframe.metrics import Metrics
from nearframe.storage.ports import StudyRef

#: Questions under way at once, each on an association of its own.
_MOST_QUESTIONS: Final = 2
#: What nobody has: it shows that queries are answered, and costs the archive one look into an index.
_PROBE: Final = {"StudyInstanceUID": "2.25.0"}
#: What is compared, from the study down. Optional keys that it does not support are empty, always (PS3.4 C.2.2.1.3).
_COMPARED: Final = (
    (
        "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime",
        "StudyID", "StudyDescription", "ReferringPhysicianName",
    ),
    ("Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined"),
    ("SOPClassUID", "InstanceNumber"),
)  # fmt: skip
_SOP_CLASS: Final = "00080016"


class DICOMArchive:
    """The `ports.Archive` that is asked by C-FIND, and sends by C-GET or C-MOVE. For one event loop.

    Parameters
    ----------
    moves_to
        See `Retrievals`.
    """

    kind: Final = "dicom"
    #: One batch on its way, and the next waiting.
    at_once: Final = 2 * MOST_IN_BATCH
    shows_contents: Final = False

    def __init__(self, peer: Peer, clock: Clock, metrics: Metrics, moves_to: str) -> None:
        self.contact = Contact(peer, clock, random.Random())
        self.breaker = self.contact.breaker
        self.retrievals = Retrievals(self.contact, clock, metrics, moves_to)
        self._questions = asyncio.Semaphore(_MOST_QUESTIONS)

    @property
    def is_reachable(self) -> bool:
        return self.contact.is_reachable

    @property
    def last_contact_s(self) -> float | None:
        return self.contact.last_contact_s

    async def close(self) -> None:
        await self.retrievals.stop()

    async def probe(self) -> None:
        async with self.questions() as requests:
            model, identifier = Level.STUDY.find_model, identifier_of(_PROBE, Level.STUDY)
            async with aclosing(find(requests, model, identifier)) as rows:
                async for _ in rows:
                    pass

    async def shown(
        self, study: StudyRef, haste: Haste, series: str | None = None, instance: str | None = None
    ) -> list[Shown]:
        uids = (study.study_instance_uid, series or "", instance or "")
        if not all(map(is_uid, filter(None, uids))) or not uids[0]:
            raise NotFound("study")  # a pattern would match others
        named = zip(_COMPARED, LEVELS, uids, strict=True)
        keys = [dict.fromkeys(compared, "") | {own: uid} for compared, (_, own, _), uid in named]
        async with self.questions() as requests, aclosing(walk(requests, *keys)) as matches:
            # Peers that do not know a key answer with everything.
            found = [_shown(match) async for match in matches if _is_of(match, uids)]
        if not found:
            raise NotFound("study")
        return found

    def instance(
        self, study: StudyRef, series: str, instance: str, haste: Haste, sop_class: str = ""
    ) -> AbstractAsyncContextManager[Body]:
        return self.retrievals.instance(Wanted(study, series, instance, sop_class, haste.urgency), haste)

    @asynccontextmanager
    async def questions(self) -> AsyncIterator[Requests]:
        """Hold an association for queries.

        Raises
        ------
        UpstreamError
            As `Contact.associate`.
        """
        async with self._questions, self.contact.associate([(Level.STUDY.find_model, UNCOMPRESSED)]) as user:
            yield user.requests


@cache
def _tags() -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(identifier_of(dict.fromkeys(keywords, ""))) for keywords in _COMPARED)


def _is_of(match: tuple[DICOMJSON, ...], uids: Sequence[str]) -> bool:
    return all(uid in ("", text_of(row, tag)) for row, (_, _, tag), uid in zip(match, LEVELS, uids, strict=True))


def _shown(match: tuple[DICOMJSON, ...]) -> Shown:
    compared = [[row.get(tag, {}).get("Value") for tag in tags] for row, tags in zip(match, _tags(), strict=True)]
    canonical = json.dumps(compared, sort_keys=True, separators=(",", ":")).encode()
    (_, _, series), (_, _, instance) = LEVELS[1:]
    return Shown(
        text_of(match[1], series), text_of(match[2], instance), sha256(canonical), text_of(match[2], _SOP_CLASS)
    )
