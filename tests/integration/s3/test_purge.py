"""Purging where several origins share database and bucket: no reader gets a wrong byte, and none is left over."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import cast

import pydicom
import pytest
import sqlalchemy as sa

from nearframe.dicom.source import BytesSource
from nearframe.dicom.split import split
from nearframe.errors import Busy
from nearframe.intake.ingest import Ingest
from nearframe.intake.prepare import Arrival, append_contents
from nearframe.intake.spool import Spool, SpoolLimits
from nearframe.intake.store import Store
from nearframe.metrics import Metrics
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue, schema
from nearframe.storage.objects import ObjectSettings, ObjectStore, open_index
from nearframe.storage.objects.reading import BytesFile
from nearframe.storage.objects.schema import content, key, stored_object, wrap
from nearframe.storage.packs import PackStore
from nearframe.storage.packs.keys import write_root_key
from nearframe.storage.ports import NewCorrection, NewVersion, StudyRef
from nearframe.storage.s3 import Bucket
from nearframe.units import MIB
from nearframe.upkeep.http import UPKEEP_PATH
from nearframe.upkeep.purge_http import PURGE
from tests.buckets import MemoryBucket
from tests.integration.origin.conftest import Node
from tests.integration.origin.test_process import PART10, Origin, running
from tests.integration.origin.test_purge import FILES, GRACE, OTHER, STUDY, Archive, at_once, copies
from tests.integration.s3.test_origin import home_of, role
from tests.packs import bodies_in
from tests.postgres import create_schema
from tests.radosgw import Radosgw
from tests.syncing import RECEIVED_AT, ct_series, edited, instance_uid

pytestmark = pytest.mark.postgresql

ROOT_KEY = bytes.fromhex("11" * 32)
LATER = (GRACE + timedelta(days=1)).total_seconds()


@contextmanager
def opened(home: Path, bucket: Bucket, database: str) -> Iterator[Archive]:
    """Open an origin of a shared archive, without its HTTP."""
    if not home.exists():
        (home / "keys").mkdir(parents=True)
        write_root_key(home / "keys" / "root.key", ROOT_KEY)
    with ExitStack() as stack:
        contents = ObjectStore(home, bucket, open_index(database), ObjectSettings(cache_bytes=MIB))
        stack.callback(contents.close)
        catalogue = open_catalogue(database)
        stack.callback(catalogue.close)
        metrics = Metrics()
        ingest = Ingest(contents, catalogue, metrics)
        stack.callback(ingest.close)
        store = Store(ingest, Spool(home / "spool", SpoolLimits(reserve_bytes=0)))
        yield Archive(Node(home, cast(PackStore, contents), catalogue, metrics, ingest, store))


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def database(postgres_server: str, request: pytest.FixtureRequest) -> str:
    return create_schema(postgres_server, request.node.name)


@pytest.fixture
def one(tmp_path: Path, bucket: MemoryBucket, database: str) -> Iterator[Archive]:
    with opened(tmp_path / "one", bucket, database) as archive:
        yield archive


@pytest.fixture
def two(tmp_path: Path, bucket: MemoryBucket, database: str, one: Archive) -> Iterator[Archive]:
    with opened(tmp_path / "two", bucket, database) as archive:
        yield archive


class Arriving:
    """An object on its way into an origin: its contents are appended, and it is not recorded yet."""

    def __init__(self, origin: Archive, file: bytes) -> None:
        self._node = origin.node
        self._since = self._node.contents.mark()
        source = BytesSource(file)
        self.version: NewVersion = append_contents(
            self._node.contents, source, split(source), Arrival("main", "test", RECEIVED_AT)
        )

    def record(self) -> None:
        """Record it, as group commit does."""
        self._node.contents.sync(self._since)
        referred = {self.version.study: self.version.contents}
        self._node.catalogue.record([self.version], partial(self._node.contents.confirm, self._since, referred))


def same_picture(file: bytes, study: str = STUDY.study_instance_uid, number: int = 99) -> bytes:
    """Return a picture as another object, of its study or of another one."""

    def rename(ds: pydicom.Dataset) -> None:
        ds.StudyInstanceUID, ds.SOPInstanceUID = study, f"{study}.{number}"

    return edited(file, rename)


async def deleted_long_ago(one: Archive) -> None:
    """Store objects of which one was deleted longer ago than the grace period."""
    await one.node.store(*FILES)
    one.delete(STUDY, instance_uid(FILES[0]))
    one.clock.advance(LATER)


async def test_what_another_origin_takes_in_meanwhile_has_its_bytes(one: Archive, two: Archive) -> None:
    """It found them held, and appended nothing; then they went."""
    await deleted_long_ago(one)
    file = same_picture(FILES[0])
    arriving = Arriving(two, file)
    assert one.purger.run(at_once).is_erased
    with pytest.raises(Busy):
        arriving.record()
    assert not (await two.node.store(file)).failed
    assert file in one.shown(STUDY)
    assert one.node.contents.scrub().damaged == 0


async def test_what_was_recorded_before_they_were_let_go_of_keeps_them(one: Archive, two: Archive) -> None:
    await deleted_long_ago(one)
    file = same_picture(FILES[0])
    arriving = Arriving(two, file)
    now = one.clock.now()
    (due,) = one.purging.due(now)
    one.purging.purge(due, now, NewCorrection("main", "purge", "test", "long enough", now, {}))
    arriving.record()
    assert one.purger.run(at_once).is_erased
    assert file in two.shown(STUDY)
    assert two.node.contents.scrub().damaged == 0


async def test_a_study_that_was_shredded_is_stored_again_by_an_origin_that_knew_its_key(
    one: Archive, two: Archive
) -> None:
    await one.node.store(*FILES)
    assert two.shown(STUDY) == FILES
    one.delete()
    one.clock.advance(LATER)
    assert one.purger.run(at_once).instances == len(FILES)
    late = same_picture(FILES[0])
    with pytest.raises(Busy):  # under the key that is gone: once
        await two.node.store(late)
    assert not (await two.node.store(late)).failed
    assert one.shown(STUDY) == [late]


async def test_a_purge_leaves_nothing(one: Archive, two: Archive, bucket: MemoryBucket) -> None:
    await one.node.store(*FILES)
    twins = copies(FILES[:2])
    await two.node.store(*twins)
    bodies, before = bodies_of(bucket), counts(one.node.catalogue)
    one.delete()
    one.clock.advance(LATER)
    two.clock.advance(LATER)
    assert (two.purger.run(at_once).instances, one.purger.run(at_once).instances) == (len(FILES), 0)
    assert len(bodies - bodies_of(bucket)) == 4 + 2  # four headers, and the frames that no other study has
    after = counts(one.node.catalogue)
    assert {name: before[name] - after[name] for name in ("version", "store_content", "store_key")} == {
        "version": 4, "store_content": 6, "store_key": 1
    }  # fmt: skip
    assert after["letting_go"] == 0
    assert one.shown(OTHER) == twins


def counts(catalogue: SQLCatalogue) -> dict[str, int]:
    """Return how many rows there are in the tables that are about contents."""
    tables = (schema.version, schema.letting_go, content, wrap, key, stored_object)
    with catalogue.database.read() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in tables
        }


def bodies_of(bucket: Bucket) -> set[bytes]:
    """Return the sealed body of every record in any object of a bucket."""
    return {body for one in bucket.list("packs/") for body in bodies_in(BytesFile([bucket.get(one.name)]))}


# -- processes -----------------------------------------------------------------------------

PURGE_UNTIL_KILLED = textwrap.dedent(
    """
    import sys, time
    from datetime import timedelta
    from pathlib import Path
    from nearframe.storage.catalogue.purging import Purging
    from nearframe.storage.objects import ObjectStore
    from nearframe.storage.s3 import S3Location
    from tests.integration.origin.test_purge import Archive
    from tests.integration.s3.test_purge import LATER, opened
    from tests.radosgw import Radosgw

    home, location, port, database, steps = sys.argv[1:]
    steps = int(steps)

    def told(name):
        global steps
        steps -= 1
        if steps == 0:
            print("now", flush=True)
            time.sleep(60)

    def telling(kind, name):
        work = getattr(kind, name)
        def told_of(*args, **named):
            told(name)
            done = work(*args, **named)
            told(name)
            return done
        setattr(kind, name, told_of)

    for kind, name in ((Purging, "purge"), (ObjectStore, "let_go"), (Purging, "let_go"), (Purging, "erased")):
        telling(kind, name)
    bucket = Radosgw(int(port), ()).open(S3Location.parse(location))
    for name in ("put_parts", "remove"):
        telling(type(bucket), name)
    with opened(Path(home), bucket, database) as archive:
        archive.clock.advance(LATER)
        archive.purger.run(lambda size: None)
    print("done", flush=True)
    """
)


@pytest.mark.drill
@pytest.mark.radosgw
async def test_killed_anywhere_it_loses_nothing_and_the_next_one_ends_it(
    root: Path, tmp_path: Path, radosgw: Radosgw, database: str
) -> None:
    """kill -9 before and after each transaction of a purge, and each request that rewrites an object."""
    location = radosgw.new_bucket()
    kept: list[bytes] = []
    step, is_killed = 0, True
    while is_killed:
        step += 1
        study = StudyRef("main", f"{STUDY.study_instance_uid}.{step}")
        files = ct_series(3, study=study.study_instance_uid, seed=step)
        kept.append(same_picture(files[0], OTHER.study_instance_uid, step))
        with opened(tmp_path / "one", radosgw.open(location), database) as one:
            await one.node.store(*files, kept[-1])
            one.delete(study)
        bodies = bodies_of(radosgw.open(location))
        is_killed = _killed_at(step, tmp_path / "purging", str(location), radosgw.port, database, root)
        with opened(tmp_path / "one", radosgw.open(location), database) as one:
            assert set(one.shown(OTHER)) == set(kept)
            assert one.node.contents.scrub().damaged == 0
            one.clock.advance(LATER)
            assert one.purger.run(at_once).is_erased
            assert set(one.shown(OTHER)) == set(kept)
        assert len(bodies - bodies_of(radosgw.open(location))) == 3 + 2
    assert step > 10


def _killed_at(step: int, home: Path, location: str, port: int, database: str, root: Path) -> bool:
    """Purge, and kill the process at a step; return False if it ended before."""
    process = subprocess.Popen(
        [sys.executable, "-c", PURGE_UNTIL_KILLED, str(home), location, str(port), database, str(step)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"},
    )
    assert process.stdout is not None
    told = process.stdout.readline().strip()
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    assert told in ("now", "done")
    return told == "now"


@pytest.mark.radosgw
def test_a_reader_at_one_origin_while_another_purges(
    root: Path, tmp_path: Path, radosgw: Radosgw, database: str
) -> None:
    """What is read is right, or gone; what others share is read all the time, wherever it is moved."""
    location, twins = radosgw.new_bucket(), copies(FILES[:2])
    command = (*role(location, radosgw.port, database), "--no-renditions", "--no-perceptual")
    with (
        running(root, home_of(tmp_path / "one"), command) as one,
        running(root, home_of(tmp_path / "two"), command) as two,
    ):
        for file in (*FILES, *twins):
            assert one.store(file).status_code == 200
        bodies = bodies_of(radosgw.open(location))
        with reading(two, [*FILES, *twins]) as reads:
            select = {"study": STUDY.study_instance_uid}
            asked = {"action": "delete", "reason": "taken in error", "select": select}
            assert one.client.post("/api/corrections", json=asked).status_code == 200
            purged = one.client.post("/api/purge", json={**select, "reason": "court order"})
            assert purged.json()["instances"] == len(FILES)
            is_first = one.client.get("/api/status").json()["duties"]["store-upkeep"]["here"]
            holder, other = (one, two) if is_first else (two, one)
            purge(other)  # which leaves the bytes to who looks after the bucket
            assert purge(holder).endswith("freed")
        assert reads.keys() == {"right", "gone"}
        assert len(bodies - bodies_of(radosgw.open(location))) == 4 + 2
        for file in twins:
            assert two.versions(instance_uid(file)) == [file]


@contextmanager
def reading(origin: Origin, files: Sequence[bytes]) -> Iterator[Counter[str]]:
    """Read files all the time; the value is how often each was right, gone, or something else."""
    reads, enough, is_over = Counter[str](), threading.Event(), threading.Event()

    def read_on() -> None:
        while not is_over.is_set():
            for file in files:
                ds = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)
                path = f"studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
                answer = origin.client.get(f"/dicomweb/{path}", headers=PART10)
                reads["right" if answer.content == file else "gone" if answer.status_code == 404 else "wrong"] += 1
            enough.set()

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        assert enough.wait(60)
        yield reads
    finally:
        is_over.set()
        reader.join()


def purge(origin: Origin) -> str:
    """Have an origin's round of purging come; return what came of it."""
    before = origin.client.post(f"{UPKEEP_PATH}/{PURGE}").json()["rounds"][PURGE]["finished_at"]
    deadline = time.monotonic() + 60
    while True:
        state = origin.client.get(UPKEEP_PATH).json()["rounds"][PURGE]
        if state["finished_at"] != before and not state["running"]:
            assert not state["failed"]
            return str(state["words"])
        assert time.monotonic() < deadline
        time.sleep(0.05)  # it tells nobody when it is done
