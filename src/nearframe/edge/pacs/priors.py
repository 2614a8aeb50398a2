"""Studies brought before anybody asks: what patients had before, of those on today's worklist and of what is opened.

One study after the other, in the background: whoever comes to want one raises it. What is here
already does not come again.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.context import Urgency
from nearframe.dicom.jsonitems import first_item, text_at, texts_of
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.requests import Requests
from nearframe.dimse.scu_query import Level, find, identifier_of
from nearframe.edge.pacs.dicomarchive import DICOMArchive
from nearframe.edge.pacs.mirror import Mirror
from nearframe.edge.prefetch import priors_of
from nearframe.errors import NearframeError
from nearframe.metrics import PACS_PREFETCHED, Metrics
from nearframe.storage.ports import StudyRef

#: Between two looks at a worklist: orders are hours old when the patient comes.
EVERY_S: Final = 600.0
#: A patient whose priors were looked for is not looked into again for so long.
_AGAIN_S: Final = 4 * 3600.0
#: Of these as many are remembered, or wait.
_MOST_WISHES: Final = 2000
#: Whoever has more studies is no patient but a phantom.
_MOST_STUDIES: Final = 200
#: In a key these stand for something else (PS3.4 section C.2.2.2).
_WILD: Final = frozenset("*?\\")

_SHOWN: Final = ("PatientID", "IssuerOfPatientID", "StudyDate", "StudyTime", "ModalitiesInStudy", "StudyInstanceUID")
_PATIENT_ID, _ISSUER, _STUDY = "00100020", "00100021", "0020000D"
_DATE, _TIME, _MODALITIES, _MODALITY = "00080020", "00080030", "00080061", "00080060"
_STEPS: Final = "00400100"

#: Returns the items of a worklist that match.
Worklist: TypeAlias = Callable[[DICOMJSON], Awaitable[Sequence[DICOMJSON]]]

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Patient:
    """An identifier, and who gave it; empty if nobody says."""

    identifier: str
    issuer: str

    @classmethod
    def of(cls, row: DICOMJSON) -> Patient:
        return cls(text_at(row, _PATIENT_ID), text_at(row, _ISSUER))

    def is_of(self, row: DICOMJSON) -> bool:
        """Return whether something is this patient's; peers that do not know a key answer with everybody's."""
        other = Patient.of(row)
        return other.identifier == self.identifier and (not self.issuer or other.issuer in ("", self.issuer))


@dataclass(frozen=True, slots=True)
class Study:
    """A study as `prefetch.priors_of` compares them; of body parts an archive says nothing at this level."""

    uid: str
    modalities: str
    acquired_at: str
    body_parts: str = ""

    @classmethod
    def of(cls, row: DICOMJSON) -> Study:
        modalities = "\\".join(texts_of(row.get(_MODALITIES)))
        return cls(text_at(row, _STUDY), modalities, text_at(row, _DATE) + text_at(row, _TIME))


class Priors:
    """Brings them, in one task. For one event loop.

    Parameters
    ----------
    worklists
        Whose patients of today are looked for.
    most
        Studies of one patient.
    """

    def __init__(
        self,
        archive: DICOMArchive,
        mirror: Mirror,
        worklists: Sequence[Worklist],
        tenant: str,
        most: int,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._archive = archive
        self._mirror = mirror
        self._worklists = worklists
        self._tenant = tenant
        self._most = most
        self._clock = clock
        self._metrics = metrics
        #: What priors are wanted of, and what it is to be like: an order of a patient, or a study that was opened.
        self._wishes: OrderedDict[Patient | StudyRef, Study] = OrderedDict()
        self._looked_s: OrderedDict[Patient | StudyRef, float] = OrderedDict()
        self._news = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        if self._most:
            self._running.append(tasks.spawn(self._bring(), name="bring priors"))
            if self._worklists:
                self._running.append(tasks.spawn(self._keep_looking(), name="look at worklists"))

    async def stop(self) -> None:
        """Stop; what is not here yet is looked for another time."""
        await tasks.cancel(self._running)

    def opened(self, study: StudyRef) -> None:
        """Somebody opens a study: its patient's others are wanted next."""
        self._wish(study, Study(study.study_instance_uid, "", ""))

    # -- what is wanted ----------------------------------------------------------------------

    def _wish(self, of: Patient | StudyRef, like: Study) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._looked_s.get(of, -_AGAIN_S) < _AGAIN_S or len(self._wishes) >= _MOST_WISHES:
            return
        self._wishes.setdefault(of, like)
        self._looked_s[of] = now_s
        self._looked_s.move_to_end(of)
        if len(self._looked_s) > _MOST_WISHES:
            self._looked_s.popitem(last=False)
        self._news.set()

    async def _keep_looking(self) -> None:
        while True:
            for worklist in self._worklists:
                try:
                    await self._look(worklist)
                except NearframeError as error:
                    _log.warning("worklist_not_read", error=error)
            await asyncio.sleep(EVERY_S * random.uniform(0.9, 1.1))

    async def _look(self, worklist: Worklist) -> None:
        today = self._clock.now().astimezone().strftime("%Y%m%d")
        step = "ScheduledProcedureStepSequence."
        keys = {"PatientID": "", "IssuerOfPatientID": "", f"{step}ScheduledProcedureStepStartDate": today}
        for item in await worklist(identifier_of({**keys, f"{step}Modality": ""})):
            self._wish(Patient.of(item), Study("", text_at(first_item(item, _STEPS), _MODALITY), ""))

    # -- what is brought ---------------------------------------------------------------------

    async def _bring(self) -> None:
        while True:
            while not self._wishes:
                self._news.clear()
                await self._news.wait()
            of, like = self._wishes.popitem(last=False)
            try:
                await self._bring_priors(of, like)
            except NearframeError as error:
                _log.debug("priors_not_brought", error=error)
                self._looked_s.pop(of, None)

    async def _bring_priors(self, of: Patient | StudyRef, like: Study) -> None:
        why = "worklist" if isinstance(of, Patient) else "prior"
        for prior in await self._priors(of, like):
            study = StudyRef(self._tenant, prior.uid)
            if not self._mirror.is_whole(study):
                await self._mirror.bring_study(study, Urgency.ARCHIVE)
                self._metrics.add(PACS_PREFETCHED, why=why)

    async def _priors(self, of: Patient | StudyRef, like: Study) -> list[Study]:
        async with self._archive.questions() as requests:
            if isinstance(of, StudyRef):
                rows = await _studies(requests, "StudyInstanceUID", of.study_instance_uid)
                if not rows:
                    return []
                of, like = Patient.of(rows[0]), Study.of(rows[0])
            if not of.identifier or _WILD & set(of.identifier):
                return []
            rows = await _studies(requests, "PatientID", of.identifier)
        others = [Study.of(row) for row in rows if of.is_of(row)]
        return priors_of(like, [other for other in others if other.uid not in ("", like.uid)], self._most)


async def _studies(requests: Requests, keyword: str, value: str) -> list[DICOMJSON]:
    identifier = identifier_of({**dict.fromkeys(_SHOWN, ""), keyword: value}, Level.STUDY)
    found: list[DICOMJSON] = []
    async with aclosing(find(requests, Level.STUDY.find_model, identifier)) as rows:
        async for row in rows:
            found.append(row)
            if len(found) >= _MOST_STUDIES:
                break
    return found
