"""The client of object stores against Ceph's radosgw, over a line that fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nearframe.clock import ManualClock
from nearframe.errors import BackendFailed, Busy, ConfigurationError, Conflict, IntegrityError, NotFound, Refused
from nearframe.storage.objects import ObjectSettings, ObjectStore, open_index
from nearframe.storage.ports import StudyRef
from nearframe.storage.s3 import S3Location
from nearframe.storage.s3.client import S3Bucket
from nearframe.units import MIB
from tests.integration.s3.unreliable import Fault, Front, unreliable
from tests.packs import put
from tests.radosgw import Radosgw

pytestmark = pytest.mark.radosgw

DATA = os.urandom(100_000)
STUDY = StudyRef("main", "1.2.3")
OTHER = StudyRef("main", "1.2.4")


@pytest.fixture
def front(radosgw: Radosgw) -> Iterator[Front]:
    with unreliable(radosgw.port) as front:
        yield front


@pytest.fixture
def location(radosgw: Radosgw) -> S3Location:
    return radosgw.new_bucket()


@pytest.fixture
def bucket(front: Front, location: S3Location) -> Iterator[S3Bucket]:
    """A bucket by way of the front."""
    with closing(S3Bucket(location, Radosgw.options_at(front.server_port))) as bucket:
        yield bucket


@pytest.fixture
def locked(radosgw: Radosgw) -> Iterator[S3Bucket]:
    """A bucket with object lock, and therefore with versions."""
    with closing(radosgw.open(radosgw.new_bucket(object_lock=True))) as bucket:
        yield bucket


def test_objects_come_back_whole_and_in_ranges(bucket: S3Bucket) -> None:
    bucket.put("packs/a", DATA)
    assert bucket.get("packs/a") == DATA
    assert bucket.get("packs/a", 10, 20) == DATA[10:20]
    assert bucket.get("packs/a", 99_990, 200_000) == DATA[99_990:]
    assert bucket.get("packs/a", 200_000, 200_001) == b""
    assert bucket.get("packs/a", 5, 5) == b""
    assert [(one.name, one.length) for one in bucket.list("packs/")] == [("packs/a", len(DATA))]
    bucket.remove("packs/a")
    bucket.remove("packs/a")
    with pytest.raises(NotFound):
        bucket.get("packs/a")


def test_a_name_is_given_once(bucket: S3Bucket) -> None:
    bucket.put("packs/a", DATA)
    bucket.put("packs/a", DATA)
    with pytest.raises(Conflict):
        bucket.put("packs/a", DATA[1:])
    assert bucket.get("packs/a") == DATA


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.UNHEARD, Fault.UNANSWERED])
def test_an_upload_that_fails_is_tried_again(bucket: S3Bucket, front: Front, fault: Fault) -> None:
    front.fail("PUT", fault, fault)
    bucket.put("packs/a", DATA)
    assert not front.faults
    assert bucket.get("packs/a") == DATA


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.UNHEARD, Fault.UNANSWERED, Fault.CUT_SHORT])
def test_a_read_that_fails_is_tried_again(bucket: S3Bucket, front: Front, fault: Fault) -> None:
    bucket.put("packs/a", DATA)
    front.fail("GET", fault, fault)
    assert bucket.get("packs/a", 0, len(DATA)) == DATA
    assert not front.faults


def test_patience_has_an_end(bucket: S3Bucket, front: Front) -> None:
    front.fail("PUT", *[Fault.SLOW_DOWN] * 20)
    with pytest.raises(Busy, match="SlowDown"):
        bucket.put("packs/a", DATA)
    assert front.asked["PUT"] == 3


def test_a_server_takes_no_upload_that_changed_on_the_way(bucket: S3Bucket, front: Front) -> None:
    front.fail("PUT", Fault.SPOILED_REQUEST)
    with pytest.raises(BackendFailed):
        bucket.put("packs/a", DATA)
    with pytest.raises(NotFound):
        bucket.get("packs/a")


def test_a_large_object_survives_a_lost_answer(bucket: S3Bucket, front: Front) -> None:
    parts = [os.urandom(5 * MIB), b"rest"]
    front.fail("PUT", Fault.UNANSWERED, Fault.NONE, Fault.SLOW_DOWN)
    bucket.put_parts("packs/large", parts)
    assert bucket.get("packs/large") == b"".join(parts)


def test_a_large_upload_that_fails_leaves_nothing(bucket: S3Bucket, front: Front) -> None:
    front.fail("PUT", Fault.NONE, *[Fault.UNHEARD] * 3)
    with pytest.raises(Busy):
        bucket.put_parts("packs/large", [os.urandom(5 * MIB), b"rest"])
    assert bucket.abort_uploads("packs/", datetime.now(UTC) + timedelta(hours=1)) == 0
    assert list(bucket.list("packs/")) == []


def test_what_a_killed_uploader_left_is_given_back(radosgw: Radosgw, location: S3Location, root: Path) -> None:
    script = (
        "import sys; from nearframe.storage.s3 import *; from nearframe.storage.s3.client import S3Bucket\n"
        f"bucket = S3Bucket(S3Location({location.bucket!r}, {location.prefix!r}), S3Options("
        f"endpoint={radosgw.options.endpoint!r}, region={radosgw.options.region!r}, path_style=True))\n"
        "def parts():\n"
        "    yield bytes(5 << 20)\n"
        "    print('one part is there', flush=True)\n"
        "    sys.stdin.read()\n"
        "bucket.put_parts('packs/large', parts())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as uploader:
        assert uploader.stdout is not None
        assert uploader.stdout.readline()
        uploader.send_signal(signal.SIGKILL)
    with closing(radosgw.open(location)) as bucket:
        now = datetime.now(UTC)
        assert bucket.abort_uploads("packs/", now - timedelta(hours=1)) == 0  # somebody may be at it
        assert bucket.abort_uploads("packs/", now + timedelta(hours=1)) == 1
        assert bucket.abort_uploads("packs/", now + timedelta(hours=1)) == 0
        assert list(bucket.list("packs/")) == []


def test_listings_have_no_end_to_their_pages(bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        bucket.put(f"packs/{number}", b"x")
    ask = bucket._ask
    monkeypatch.setattr(bucket, "_ask", lambda operation, **wanted: ask(operation, MaxKeys=2, **wanted))
    assert [one.name for one in bucket.list("packs/")] == [f"packs/{number}" for number in range(5)]


def test_a_legal_hold_keeps_an_object(locked: S3Bucket) -> None:
    version = locked.put("packs/a", DATA)
    assert version
    assert locked.can_hold()
    locked.hold("packs/a", version, held=True)
    with pytest.raises(Refused):
        locked.remove("packs/a", version)
    locked.remove("packs/a")  # hides it only; who knows the version reads on
    assert locked.get("packs/a", 0, 10, version) == DATA[:10]
    locked.hold("packs/a", version, held=False)
    locked.remove("packs/a", version)
    with pytest.raises(NotFound):
        locked.get("packs/a", 0, 10, version)


def test_no_object_lock_no_legal_hold(bucket: S3Bucket) -> None:
    version = bucket.put("packs/a", DATA)
    assert not bucket.can_hold()
    with pytest.raises(Refused, match="object lock"):
        bucket.hold("packs/a", version, held=True)


def test_what_cannot_be_used_is_said_at_the_start(
    radosgw: Radosgw, location: S3Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="there is no bucket"):
        radosgw.open(S3Location("no-such-bucket"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ConfigurationError, match="may not use"):
        radosgw.open(location)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigurationError, match="no credentials"):
        radosgw.open(location)


def test_the_store_asks_again_for_what_was_spoiled_and_marks_what_is(
    bucket: S3Bucket, front: Front, tmp_path: Path
) -> None:
    settings = ObjectSettings(cache_bytes=0)
    with ObjectStore(tmp_path, bucket, open_index(tmp_path / "index.sqlite"), settings) as store:
        digest = put(store, STUDY, DATA)
        front.fail("GET", Fault.SPOILED)
        assert store.read(STUDY, digest) == DATA
        assert store.integrity_failures == 0
        front.fail("GET", Fault.SPOILED, Fault.SPOILED)
        with pytest.raises(IntegrityError):
            store.read(STUDY, digest)
        assert [lost.digest for lost in store.damaged()] == [digest]


def test_a_store_that_is_away_is_a_busy_store(bucket: S3Bucket, front: Front, tmp_path: Path) -> None:
    with ObjectStore(tmp_path, bucket, open_index(tmp_path / "index.sqlite")) as store:
        held = put(store, STUDY, b"before")
        front.fail("PUT", *[Fault.UNHEARD] * 3)
        with pytest.raises(Busy):
            put(store, STUDY, DATA)
        assert store.read(STUDY, put(store, STUDY, DATA)) == DATA
        assert store.read(STUDY, held) == b"before"


def test_a_study_under_a_hold_outlives_everything_that_would_take_it(locked: S3Bucket, tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC))
    with ObjectStore(tmp_path, locked, open_index(tmp_path / "index.sqlite"), clock=clock) as store:
        held = [put(store, STUDY, os.urandom(1000)) for _ in range(3)]
        free = [put(store, OTHER, os.urandom(1000)) for _ in range(3)]
        assert store.hold(STUDY) == 3
        late = put(store, STUDY, DATA)
        store.release(OTHER, free)
        clock.advance(7200)
        assert store.compact().removed == 3
        clock.advance(7200)
        store.compact()
        packs = list(locked.list("packs/"))
        assert len(packs) == 4
        for one in packs:
            locked.remove(one.name)  # what an administrator may still do: it hides them
        assert list(locked.list("packs/")) == []
        assert store.missing(STUDY, [*held, late]) == []
        assert store.scrub().damaged == 0
        assert store.end_hold(STUDY) == 4
        store.shred(STUDY)
        clock.advance(7200)
        assert store.erase().removed == 4
        assert store.stats().segments == 0
