"""What is done with an archive whose cost must not depend on how much it holds.

Each round asks about another study, spread over the archive, so that not the same pages answer every time.
What a node would remember is not remembered here: each operation goes to the catalogue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import corpus
from bench.synthetic import ROOT, Shape, identity, series_attributes, study_attributes, version
from nearframe.context import local_admin
from nearframe.dicom.levels import Level
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.ids import Digest, sha256
from nearframe.origin.proposals import study_proposals
from nearframe.query.deltas import Deltas
from nearframe.query.headeredits import Part10Edits
from nearframe.query.manifests import Manifests
from nearframe.query.retrieve_metadata import MetadataScope
from nearframe.query.search import SearchService
from nearframe.storage.catalogue import open_catalogue
from nearframe.storage.ports import FeedCursor, StudyRef
from nearframe.wire.contentcoding import IDENTITY
from tests.archive import Archive

#: What is timed: given a round number, the work is made ready, and what comes back does it.
Ready = Callable[[], object]

STORED: Final = 20
_SERVICE_URL: Final = "https://edge.example/dicomweb"
_BATCH: Final = 16
_FIRST_NEW_STUDY: Final = 10**8
_STUDY_LIST: Final = (("limit", "101"), ("offset", "0"), ("fuzzymatching", "true"))
_FIELDS: Final = ("includefield", "00081030,00080060,00080090,00100030")


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that is done.

    Attributes
    ----------
    ready
        Makes the work of a round ready.
    parts
        The cost is given for each of so many.
    writes
        Whether it changes the catalogue: then fewer rounds do.
    """

    name: str
    ready: Callable[[int], Ready]
    parts: int = 1
    writes: bool = False


class Sized:
    """An archive over a catalogue of some size, with an empty store of contents for what is stored meanwhile.

    Parameters
    ----------
    series
        Stored anew in each round that stores.
    """

    def __init__(self, folder: Path, where: Path | str, shape: Shape, series: corpus.Series) -> None:
        self._loop = asyncio.new_event_loop()
        self._archive = Archive(folder, catalogue=open_catalogue(where), metadata_cache_bytes=0)
        self._catalogue = self._archive.catalogue
        self._search = SearchService(self._catalogue)
        self._manifests = Manifests(self._catalogue, self._archive.sql, 0)
        self._deltas = Deltas(
            self._catalogue, self._archive.contents, self._manifests, Part10Edits(), self._archive.sql, 0
        )
        self._shape = shape
        self._series = series

    def close(self) -> None:
        self._archive.close()
        self._loop.close()

    def operations(self) -> Iterator[Operation]:
        """Yield what is measured; prepares what that needs."""
        yield from self._searches()
        yield from self._reads()
        yield from self._follows()
        yield from self._writes()

    # -- searches --------------------------------------------------------------------------

    def _searches(self) -> Iterator[Operation]:
        def listed(*params: tuple[str, str], limit: str = "101") -> Ready:
            return self._find(Level.STUDY, ("limit", limit), *_STUDY_LIST[1:], _FIELDS, *params)

        def fragment(tag: str, keyword: str, cut: int) -> Callable[[int], Ready]:
            return lambda number: listed((keyword, f"*{self._value(number, tag)[cut:]}*"))

        yield Operation("QIDO: study list, first page of 101", _always(listed()))
        yield Operation("QIDO: PatientName=*fragment*", lambda n: listed(("PatientName", f"*{self._family(n)[1:]}*")))
        # Fuzzy: names that sound alike match too, and of a hundred times the studies a hundred times as many.
        yield Operation(
            "QIDO: PatientName=prefix*, 3 of many", lambda n: listed(("PatientName", f"{self._family(n)}*"), limit="3")
        )
        yield Operation("QIDO: PatientID=*fragment*", fragment("00100020", "PatientID", 3))
        yield Operation("QIDO: AccessionNumber=*fragment*", fragment("00080050", "AccessionNumber", 2))
        for name, limit, params in (
            ("StudyDescription=*head*, 5 of many", "5", [("StudyDescription", "*head*")]),
            ("ModalitiesInStudy=CT,MR, 10 of many", "10", [("ModalitiesInStudy", "CT,MR")]),
            ("StudyDate=a-b, 25 of many", "25", [("StudyDate", "20160101-20251231")]),
            (
                "StudyDate=-b and modality, 5 of many",
                "5",
                [("StudyDate", "19700102-20241231"), ("ModalitiesInStudy", "US")],
            ),
            ("PatientName=*nobody*", "101", [("PatientName", "*nobody here*")]),
        ):
            yield Operation(f"QIDO: {name}", _always(listed(*params, limit=limit)))
        yield Operation("QIDO: study by UID", lambda n: listed(("StudyInstanceUID", self._study(n).study_instance_uid)))
        yield Operation(
            "QIDO: priors by Patient ID",
            lambda n: self._find(Level.STUDY, ("PatientID", self._value(n, "00100020")), _FIELDS),
        )
        yield Operation("QIDO: series of a study", self._within(Level.SERIES, ("includefield", "0008103E,00080021")))
        yield Operation("QIDO: instances of a series", lambda n: self._find(Level.INSTANCE, series=self._series_uid(n)))
        yield Operation("QIDO: one instance of a study", self._within(Level.INSTANCE, ("limit", "1")))
        yield Operation(
            "QIDO: series of a modality, across studies",
            _always(self._find(Level.SERIES, ("Modality", "MR"), ("limit", "10"))),
        )
        yield Operation(
            "QIDO: an instance by UID, across studies",
            lambda n: self._find(Level.INSTANCE, ("SOPInstanceUID", self._sop(n))),
        )

    def _within(self, level: Level, *params: tuple[str, str]) -> Callable[[int], Ready]:
        return lambda number: self._find(level, *params, study=self._study(number).study_instance_uid)

    def _find(
        self, level: Level, *params: tuple[str, str], study: str | None = None, series: str | None = None
    ) -> Ready:
        study = study if series is None else series.rpartition(".")[0]

        def read() -> list[bytes]:
            answer = self._search.search(local_admin(), level, params, study, series)
            answer.render(_SERVICE_URL)
            return answer.rows

        return read

    # -- reads -----------------------------------------------------------------------------

    def _reads(self) -> Iterator[Operation]:
        catalogue = self._catalogue
        yield Operation("metadata of a study of 100", lambda n: self._metadata(self._study(n), None))
        yield Operation("metadata of a series of 20", lambda n: self._metadata(self._study(n), self._series_uid(n)))
        yield Operation("an instance, for a frame", lambda n: partial(catalogue.find_instance, "main", self._sop(n)))
        yield Operation(
            "the rendition of a frame",
            lambda n: partial(catalogue.rendition, "main", sha256(b"enc" + self._sop(n).encode()), HTJ2KLosslessRPCL),
        )
        yield Operation("look-alikes of a study in its patient", lambda n: partial(self._alike, self._study(n)))

    def _metadata(self, study: StudyRef, series: str | None) -> Ready:
        metadata, scope = self._archive.services.metadata, MetadataScope(study, series)

        async def read() -> bytes:
            return await metadata.json(scope, await metadata.state(scope), _SERVICE_URL, IDENTITY)

        return lambda: self._run(read())

    def _alike(self, study: StudyRef) -> object:
        return study_proposals(self._catalogue.hashes(study), study.study_instance_uid, 100)

    # -- followers -------------------------------------------------------------------------

    def _follows(self) -> Iterator[Operation]:
        catalogue = self._catalogue
        end = catalogue.head()
        yield Operation(
            "feed: 50 entries after a cursor",
            lambda n: partial(catalogue.feed, FeedCursor(end.epoch, self._number(n) // 2), 50),
        )
        yield Operation("feed: nothing new", _always(partial(catalogue.feed, end, 50)))
        yield Operation(
            "manifest of a study of 100", lambda n: lambda: self._run(self._manifests.current(self._study(n)))
        )
        yield Operation("delta: an edge that is up to date", self._up_to_date)
        study, root = self._corrected()
        yield Operation(
            f"delta: {STORED} instances, patient renamed",
            _always(lambda: self._run(self._deltas.since(study, root))),
        )

    def _up_to_date(self, number: int) -> Ready:
        study = self._study(number)
        root = sha256(study.study_instance_uid.encode())
        return lambda: self._run(self._deltas.is_current(study, root))

    def _corrected(self) -> tuple[StudyRef, Digest]:
        """Store a study twice, with another patient name the second time; return it and its first root."""
        files = corpus.anew(self._series, 0)
        (stored, *_) = self._run(self._archive.add(*files))
        study = StudyRef("main", stored.identity.study_instance_uid)
        before = self._run(self._manifests.current(study)).manifest.root
        self._run(self._archive.add(*(file.replace(b"Bench^Phantom", b"Bench^Changed", 1) for file in files)))
        return study, before

    # -- writes ----------------------------------------------------------------------------

    def _writes(self) -> Iterator[Operation]:
        yield Operation(f"STOW: a study of {STORED}, an instance", self._store, STORED, writes=True)
        yield Operation(f"record in batches of {_BATCH}, an instance", self._record, _BATCH, writes=True)

    def _store(self, number: int) -> Ready:
        files = corpus.anew(self._series, 1 + number)
        return lambda: self._run(self._archive.add(*files))

    def _record(self, number: int) -> Ready:
        study = _FIRST_NEW_STUDY + number
        common = study_attributes(study) | series_attributes(study, 1)
        batch = [version(identity(study, 1, place), common) for place in range(1, _BATCH + 1)]
        return lambda: self._catalogue.record(batch)

    # -- of a round ------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def _number(self, round_number: int) -> int:
        return (self._shape.studies // 2 + 7919 * round_number) % self._shape.studies

    def _study(self, round_number: int) -> StudyRef:
        return StudyRef("main", f"{ROOT}.{self._number(round_number)}")

    def _series_uid(self, round_number: int) -> str:
        return f"{self._study(round_number).study_instance_uid}.3"

    def _sop(self, round_number: int) -> str:
        return f"{self._series_uid(round_number)}.7"

    def _value(self, round_number: int, tag: str) -> str:
        value: str = study_attributes(self._number(round_number))[tag]["Value"][0]
        return value

    def _family(self, round_number: int) -> str:
        name: Any = study_attributes(self._number(round_number))["00100010"]["Value"][0]
        family: str = name["Alphabetic"].partition("^")[0]
        return family


def _always(ready: Ready) -> Callable[[int], Ready]:
    """Return what does the same in every round."""
    return lambda _: ready
