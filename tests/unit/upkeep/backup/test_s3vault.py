"""A vault in a bucket."""

from __future__ import annotations

import pytest

from nearframe.clock import ManualClock
from nearframe.errors import Busy, NotFound
from nearframe.upkeep.backup import s3vault
from nearframe.upkeep.backup.itself import own_name
from nearframe.upkeep.backup.s3vault import LEASE, S3Vault
from tests.buckets import MemoryBucket, failing


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_blob_is_kept_once_and_found_again(bucket: MemoryBucket, clock: ManualClock) -> None:
    with S3Vault(bucket, clock, writes=True) as vault:
        assert vault.put("blobs/ab12", b"one")
        assert not vault.put("blobs/ab12", b"one")
        vault.put("points/20261122T194500.000001Z", b"two")
    with S3Vault(bucket, clock) as vault:
        assert vault.names("blobs") == ["blobs/ab12"]
        assert vault.get("blobs/ab12", 1, 3) == b"ne"
        vault.remove("blobs/ab12")
        vault.remove("blobs/ab12")
        with pytest.raises(NotFound, match="in the backup"):
            vault.get("blobs/ab12")
    assert sorted(bucket.objects) == ["points/20261122T194500.000001Z"]


def test_one_writer_at_a_time(bucket: MemoryBucket, clock: ManualClock) -> None:
    with S3Vault(bucket, clock, writes=True) as vault:
        with pytest.raises(Busy, match="under way"):
            S3Vault(bucket, clock, writes=True)
        S3Vault(bucket, clock).close()  # who reads need not wait
        vault.put("blobs/ab12", b"one")
    S3Vault(bucket, clock, writes=True).close()


def test_a_writer_that_writes_stays_the_only_one(bucket: MemoryBucket, clock: ManualClock) -> None:
    with S3Vault(bucket, clock, writes=True) as vault:
        for number in range(8):
            clock.advance(LEASE.total_seconds() / 2)
            vault.put(f"blobs/{number}", b"x")
            with pytest.raises(Busy):
                S3Vault(bucket, clock, writes=True)
    assert not [name for name in bucket.objects if name.startswith("lock/")]


def test_a_writer_that_died_is_forgotten(bucket: MemoryBucket, clock: ManualClock) -> None:
    S3Vault(bucket, clock, writes=True)
    clock.advance(LEASE.total_seconds())
    with S3Vault(bucket, clock, writes=True) as vault:
        assert vault.put("blobs/ab12", b"one")
    assert sorted(bucket.objects) == ["blobs/ab12"]


def test_a_writer_of_this_machine_that_died_holds_nobody_up(
    bucket: MemoryBucket, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    S3Vault(bucket, clock, writes=True)
    monkeypatch.setattr(s3vault, "has_ended", lambda name: name == own_name())
    S3Vault(bucket, clock, writes=True).close()


def test_what_was_not_kept_is_told(bucket: MemoryBucket, clock: ManualClock) -> None:
    with S3Vault(bucket, clock, writes=True) as vault:
        bucket.before = failing("put")
        with pytest.raises(Busy):
            vault.put("blobs/ab12", b"one")
        assert vault.put("blobs/ab12", b"one")
