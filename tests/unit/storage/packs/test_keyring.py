"""The key ring: who can open what, what shredding leaves, and slots that a crash cut short."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from nearframe.errors import ConfigurationError, IntegrityError
from nearframe.storage.packs.faulty import Fault, FaultyDisk, FaultyFiles, PowerCutError, When
from nearframe.storage.packs.keyring import RING_FILE, SlotKeyRing
from nearframe.storage.packs.keys import StudyKeys, load_root_key
from nearframe.storage.packs.slots import SLOT_BYTES
from nearframe.storage.packs.tables import Wrap
from nearframe.storage.ports import StudyRef

ROOT = bytes(range(32))
A, B = StudyRef("main", "1.2.3"), StudyRef("main", "1.2.4")
ELSEWHERE = StudyRef("other", "1.2.3")
DIGEST, CONTENT_KEY, TAG = bytes(32), b"k" * 32, b"key  tag"


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def files(disk: FaultyDisk) -> FaultyFiles:
    return disk.directory("keys")


def wrapped(keys: StudyKeys) -> Wrap:
    nonce, sealed = keys.wrap(keys.content_id(DIGEST), TAG, CONTENT_KEY, DIGEST)
    return Wrap(TAG, nonce, sealed, 1, False)


def test_a_study_opens_its_own_wraps_only(files: FaultyFiles) -> None:
    ring = SlotKeyRing(files, ROOT)
    ours, theirs = ring.ensure(A), ring.ensure(B)
    content_id = ours.content_id(DIGEST)
    wrap = wrapped(ours)
    assert ours.unwrap(content_id, wrap) == (CONTENT_KEY, DIGEST)
    for keys, as_content, as_wrap in (
        (theirs, content_id, wrap),
        (ours, bytes(32), wrap),
        (ours, content_id, wrap._replace(key_tag=b"another.")),
    ):
        with pytest.raises(IntegrityError):
            keys.unwrap(as_content, as_wrap)


def test_content_ids_are_shared_in_a_tenant_and_nowhere_else(files: FaultyFiles) -> None:
    ring = SlotKeyRing(files, ROOT)
    assert ring.ensure(A).content_id(DIGEST) == ring.ensure(B).content_id(DIGEST)
    assert ring.ensure(A).content_id(DIGEST) != ring.ensure(ELSEWHERE).content_id(DIGEST)
    assert ring.ensure(A).content_id(DIGEST) != DIGEST


def test_keys_outlive_a_restart(files: FaultyFiles) -> None:
    ring = SlotKeyRing(files, ROOT)
    assert ring.find(A) is None
    before = ring.ensure(A)
    wrap = wrapped(before)
    ring.ensure(ELSEWHERE)
    again = SlotKeyRing(files, ROOT)
    found = again.find(A)
    assert found is not None
    assert found.key_id == before.key_id
    assert found.unwrap(found.content_id(DIGEST), wrap)[0] == CONTENT_KEY
    assert again.study_of(before.key_id) == A
    assert again.find(B) is None


def test_ids_and_names_do_not_stand_in_the_file(files: FaultyFiles) -> None:
    study = StudyRef("hospital-name", "1.2.840.99999.7")
    SlotKeyRing(files, ROOT).ensure(study)
    data = bytes(files.entries[RING_FILE].seen)
    assert study.tenant.encode() not in data
    assert study.study_instance_uid.encode() not in data


def test_shredding_leaves_nothing_in_the_file(files: FaultyFiles) -> None:
    ring = SlotKeyRing(files, ROOT)
    old = ring.ensure(A)
    wrap = wrapped(old)
    assert ring.shred(A) == old.key_id
    assert ring.shred(A) is None
    assert bytes(files.entries[RING_FILE].kept)[SLOT_BYTES:] == bytes(SLOT_BYTES)
    assert ring.find(A) is None
    assert ring.by_id(old.key_id) is None
    new = ring.ensure(A)
    assert new.key_id != old.key_id
    with pytest.raises(IntegrityError):
        new.unwrap(new.content_id(DIGEST), wrap)
    assert len(files.entries[RING_FILE].seen) == 2 * SLOT_BYTES  # the free slot was taken


def test_another_root_key_is_refused(files: FaultyFiles) -> None:
    SlotKeyRing(files, ROOT).ensure(A)
    with pytest.raises(ConfigurationError, match="another root key"):
        SlotKeyRing(files, bytes(32))


def test_an_overlong_uid_has_a_key_and_no_label(files: FaultyFiles) -> None:
    study = StudyRef("main", "1." * 300)
    keys = SlotKeyRing(files, ROOT).ensure(study)
    again = SlotKeyRing(files, ROOT)
    assert again.find(study) is not None
    assert again.study_of(keys.key_id) is None


@pytest.mark.parametrize("name", ["", "x" * 200])
def test_a_tenant_has_a_name_of_usual_length(files: FaultyFiles, name: str) -> None:
    with pytest.raises(ConfigurationError):
        SlotKeyRing(files, ROOT).ensure(StudyRef(name, "1.2"))


def test_a_slot_cut_short_is_used_once(disk: FaultyDisk, files: FaultyFiles) -> None:
    # Counted as free and as the next one, it was given to two studies: the first lost its key.
    ring = SlotKeyRing(files, ROOT)
    ring.ensure(A)
    disk.strike(Fault(len(disk.operations), When.HALFWAY, errno.ENOSPC))
    with pytest.raises(OSError, match="ENOSPC"):
        ring.ensure(B)
    files.entries[RING_FILE].seen[:] = files.entries[RING_FILE].seen[: 2 * SLOT_BYTES + SLOT_BYTES // 2]
    ring = SlotKeyRing(files, ROOT)
    third = StudyRef("main", "1.2.5")
    ids = [ring.ensure(study).key_id for study in (B, third)]
    again = SlotKeyRing(files, ROOT)
    assert [again.study_of(key_id) for key_id in ids] == [B, third]


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("step", [0, 1])
def test_a_shredding_that_failed_can_be_repeated(disk: FaultyDisk, files: FaultyFiles, step: int, when: When) -> None:
    ring = SlotKeyRing(files, ROOT)
    key_id = ring.ensure(A).key_id
    disk.strike(Fault(len(disk.operations) + step, when, errno.EIO))
    disk.strike(Fault(len(disk.operations) + step + 1, When.BEFORE, errno.EIO))
    with pytest.raises(OSError, match="EIO"):
        ring.shred(A)
    assert ring.find(A) is not None
    disk.faults.clear()
    assert ring.shred(A) == key_id
    disk.cut_power()
    disk.restart()
    assert SlotKeyRing(files, ROOT).find(A) is None


def test_a_key_is_durable_before_it_is_given_out(disk: FaultyDisk, files: FaultyFiles) -> None:
    ring = SlotKeyRing(files, ROOT)
    key_id = ring.ensure(A).key_id
    disk.cut_power()
    with pytest.raises(PowerCutError):
        ring.ensure(B)
    disk.restart()
    assert SlotKeyRing(files, ROOT).by_id(key_id) is not None


def test_the_root_key_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "root.key"
    key = load_root_key(path)
    assert len(key) == 32
    assert load_root_key(path) == key
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["root.key"]


@pytest.mark.parametrize("text", ["", "00" * 31, "xx" * 32, "\N{SNOWMAN}"])
def test_a_file_that_is_no_root_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "root.key"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="not a root key"):
        load_root_key(path)
