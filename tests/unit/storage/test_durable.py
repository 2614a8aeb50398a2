"""Small files written durably: a power cut leaves the old one or the new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nearframe.storage.durable import replace_durably
from tests.drills.disk import Disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk", 16)
    made.open()
    if not made.is_real:
        pytest.skip("only root can mount a disk whose power can be cut")
    yield made
    made.close()


def test_what_was_written_durably_outlives_a_power_cut(disk: Disk) -> None:
    path = disk.folder / "role"
    for data in (b"edge\n", b"origin\n"):
        replace_durably(path, data)
        (disk.folder / "other").write_bytes(b"not synced")
        disk.cut_power()
        disk.restore_power()
        assert path.read_bytes() == data
        assert [found.name for found in disk.folder.iterdir() if found.name in ("role.new", "other")] == []


def test_what_stands_there_stays_if_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "role"
    replace_durably(path, b"edge\n")
    path.with_name("role.new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        replace_durably(path, b"origin\n")
    assert path.read_bytes() == b"edge\n"
