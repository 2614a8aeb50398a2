"""What recording and reading cost in the catalogue alone: ``python -m bench.catalogue``.

Every commit waits for the disk (SQLite: ``synchronous=FULL``). Wall time stands beside the
CPU time of the asking thread, since the former depends on what else the machine does; the
bars are for the wall time of a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

from bench.synthetic import Shape, identity, study_attributes, version, versions
from nearframe.context import local_admin
from nearframe.dicom.levels import Level
from nearframe.query.search import SearchService
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue
from nearframe.storage.ports import StudyRef

BAR_RECORD_MS = 1.0
BAR_QIDO_MS = 40.0  # a twentieth of Orthanc's 825 ms
SERIES_OF = 600

#: Wall and CPU seconds of one run.
Taken = tuple[float, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--url", help="a PostgreSQL database instead of a new SQLite file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nearframe-bench-") as folder:
        catalogue = open_catalogue(options.url or Path(folder, "catalogue.sqlite"))
        missed = [*_recording(catalogue, options.instances), *_reading(catalogue)]
        catalogue.close()
    return 1 if missed else 0


def _recording(catalogue: SQLCatalogue, count: int) -> list[str]:
    missed = []
    prepared = versions(Shape(4 * count))
    for size in (1, 4, 16, 64):
        batches = [list(islice(prepared, size)) for _ in range(count // max(size, 4))]
        taken = [_measure(partial(catalogue.record, batch)) for batch in batches]
        bar = BAR_RECORD_MS if size >= 16 else None
        missed += _say(f"record, batches of {size}, per instance", taken, bar, size)
    return missed


def _reading(catalogue: SQLCatalogue) -> list[str]:
    common = study_attributes(10**6)
    uids = [identity(10**6, 1, number) for number in range(1, SERIES_OF + 1)]
    for start in range(0, SERIES_OF, 50):
        catalogue.record([version(one, common) for one in uids[start : start + 50]])
    study, series = StudyRef("main", uids[0].study_instance_uid), uids[0].series_instance_uid
    search = SearchService(catalogue)
    ctx = local_admin()

    def qido() -> object:
        return search.search(ctx, Level.INSTANCE, [], study.study_instance_uid, series).render("https://edge.example")

    missed = _say(f"search: instances of a series of {SERIES_OF}", _often(qido), BAR_QIDO_MS)
    sop = uids[300].sop_instance_uid
    _say("find_instance", _often(lambda: catalogue.find_instance("main", sop)))
    _say(f"list_instances of {SERIES_OF}", _often(lambda: catalogue.list_instances(study, series)))
    _say(f"metadata of {SERIES_OF}", _often(lambda: catalogue.metadata(study, series)))
    _say("state", _often(lambda: catalogue.state(study, series)))
    return missed


def _often(work: Callable[[], object], times: int = 40) -> list[Taken]:
    work()
    return [_measure(work) for _ in range(times)]


def _measure(work: Callable[[], object]) -> Taken:
    wall, cpu = time.perf_counter(), time.thread_time()
    work()
    return time.perf_counter() - wall, time.thread_time() - cpu


def _say(what: str, taken: list[Taken], bar_ms: float | None = None, parts: int = 1) -> list[str]:
    wall_ms, cpu_ms = (statistics.median(side) * 1e3 / parts for side in zip(*taken, strict=True))
    verdict = "" if bar_ms is None else f"   bar {bar_ms:g} ms {'holds' if wall_ms <= bar_ms else 'MISSED'}"
    print(f"{what:44} {wall_ms:9.3f} ms {cpu_ms:9.3f} ms CPU{verdict}")
    return [what] if bar_ms is not None and wall_ms > bar_ms else []


if __name__ == "__main__":
    raise SystemExit(main())
