"""Searches and feed reads at 10 000 and at a million instances: ``python -m bench.scale``.

The queries are those viewers send. Both catalogues answer each query in turn, so that a
machine whose speed drifts slows both; the ratio of the medians has to stay below the bar.
What is compared is the CPU time of the asking thread, in which the database runs; both
files are in the page cache.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.synthetic import ROOT, Shape, fill, study_attributes
from nearframe.context import local_admin
from nearframe.dicom.levels import Level
from nearframe.query.search import SearchService
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue
from nearframe.storage.ports import FeedCursor, StudyRef

BAR = 1.5
ROUNDS = 61
_STUDY_LIST = [("limit", "101"), ("offset", "0"), ("fuzzymatching", "true")]
_FIELDS = ("includefield", "00081030,00080060,00080090,00100030")

Read = Callable[[], object]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path, help="keep the catalogues here, and use them again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nearframe-bench-") as folder:
        home = options.home or Path(folder)
        small, large = (_catalogue(home, Shape(size)) for size in (options.small, options.large))
        missed = _compare(dict(_reads(small, options.small)), dict(_reads(large, options.large)))
        small.close()
        large.close()
    return 1 if missed else 0


def _catalogue(home: Path, shape: Shape) -> SQLCatalogue:
    path = home / f"{shape.instances}.sqlite"
    if not path.exists():
        start = time.perf_counter()
        fill(path, shape)
        print(f"made {path.name} in {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1e6:.0f} MB")
    return open_catalogue(path)


def _reads(catalogue: SQLCatalogue, size: int) -> Iterator[tuple[str, Read]]:
    """Yield the queries, asked about the study in the middle."""
    service, ctx = SearchService(catalogue), local_admin()
    number = Shape(size).studies // 2
    attributes = study_attributes(number)
    patient_id = attributes["00100020"]["Value"][0]
    accession = attributes["00080050"]["Value"][0]
    family = attributes["00100010"]["Value"][0]["Alphabetic"].partition("^")[0]
    study, series = f"{ROOT}.{number}", f"{ROOT}.{number}.3"

    def find(level: Level, *params: tuple[str, str], study: str | None = None, series: str | None = None) -> Read:
        def read() -> list[bytes]:
            answer = service.search(ctx, level, params, study, series)
            answer.render("https://edge.example/dicomweb")
            return answer.rows

        return read

    def studies(*params: tuple[str, str], limit: str = "101") -> Read:
        return find(Level.STUDY, ("limit", limit), *_STUDY_LIST[1:], _FIELDS, *params)

    yield "study list, first page of 101", studies()
    yield "study list, PatientName=*fragment*", studies(("PatientName", f"*{family[1:]}*"))
    # Fuzzy: names that sound alike match too, and of a hundred times the studies a hundred times as many.
    yield "study list, PatientName=prefix*, 3 of many", studies(("PatientName", f"{family}*"), limit="3")
    yield "study list, 00100020=*fragment*", studies(("00100020", f"*{patient_id[3:]}*"))
    yield "study list, AccessionNumber=*fragment*", studies(("AccessionNumber", f"*{accession[2:]}*"))
    yield "study list, StudyDescription=*head*", studies(("StudyDescription", "*head*"), limit="5")
    yield "study list, ModalitiesInStudy=CT,MR", studies(("ModalitiesInStudy", "CT,MR"), limit="10")
    yield "study list, StudyDate=a-b", studies(("StudyDate", "20160101-20251231"), limit="25")
    yield (
        "study list, StudyDate=-b and modality",
        studies(("StudyDate", "19700102-20241231"), ("ModalitiesInStudy", "US"), limit="5"),
    )
    yield "study by UID", studies(("StudyInstanceUID", study))
    yield "priors by Patient ID", find(Level.STUDY, ("00100020", patient_id), _FIELDS)
    yield "nothing: PatientName=*nobody*", studies(("PatientName", "*nobody here*"))
    yield "series of a study", find(Level.SERIES, ("includefield", "0008103E,00080021"), study=study)
    yield "instances of a series", find(Level.INSTANCE, study=study, series=series)
    yield "one instance of a study", find(Level.INSTANCE, ("limit", "1"), ("includefield", "00080018"), study=study)
    yield "series of a modality, across studies", find(Level.SERIES, ("Modality", "MR"), ("limit", "10"))
    yield "an instance by UID, across studies", find(Level.INSTANCE, ("SOPInstanceUID", f"{series}.7"))
    end = catalogue.head()
    yield "feed, 50 entries", lambda: catalogue.feed(FeedCursor(end.epoch, end.seq // 2), 50)
    yield "feed, nothing new", lambda: catalogue.feed(end, 50)
    yield "state of a study", lambda: catalogue.state(StudyRef("main", study))
    yield "instances of a study, for its manifest", lambda: catalogue.list_instances(StudyRef("main", study))
    yield "an instance, for a frame", lambda: catalogue.find_instance("main", f"{series}.7", study_instance_uid=study)


def _compare(small: dict[str, Read], large: dict[str, Read]) -> list[str]:
    missed = []
    print(f"{'':44} {'rows':>9} {'small':>9} {'large':>9} {'ratio':>6}")
    for name in small:
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(ROUNDS):
            order = (0, 1) if number % 2 else (1, 0)
            for side in order:
                read = (small, large)[side][name]
                start = time.thread_time()
                read()
                times[side].append(time.thread_time() - start)
        rows = "/".join(str(_rows(reads[name]())) for reads in (small, large))
        before, after = (statistics.median(side) * 1e3 for side in times)
        verdict = "" if after <= BAR * before else "   MISSED"
        print(f"{name:44} {rows:>9} {before:6.2f} ms {after:6.2f} ms {after / before:6.2f}{verdict}")
        missed += [name] if verdict else []
    return missed


def _rows(answer: object) -> int:
    return len(answer) if isinstance(answer, list) else 1


if __name__ == "__main__":
    raise SystemExit(main())
