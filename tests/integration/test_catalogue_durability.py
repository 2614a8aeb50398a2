"""What the catalogue acknowledged is there after a crash, and was on the disk before it was acknowledged."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nearframe.storage.catalogue import open_catalogue
from nearframe.storage.ports import FeedCursor
from tests.unit.storage.catalogue.objects import identity, study_ref

#: A process that records for ever and says after each batch how far it is.
RECORDER = """
import itertools, os, sys
from pathlib import Path
from nearframe.storage.catalogue import open_catalogue
from tests.unit.storage.catalogue.objects import identity, version

catalogue = open_catalogue(Path(sys.argv[1]))
size = int(sys.argv[2])
for batch in itertools.islice(itertools.count(), int(sys.argv[3])):
    first = batch * size
    catalogue.record([version(identity(1, 1, number)) for number in range(first + 1, first + size + 1)])
    os.write(1, b"acknowledged %d\\n" % (first + size))
"""


def recorder(path: Path, size: int, batches: int, *before: str) -> list[str]:
    return [*before, sys.executable, "-c", RECORDER, str(path), str(size), str(batches)]


def environment(root: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}


@pytest.mark.parametrize("acknowledgements", [1, 7, 20])
def test_nothing_acknowledged_is_lost_when_the_process_dies(root: Path, tmp_path: Path, acknowledgements: int) -> None:
    path = tmp_path / "catalogue.sqlite"
    command = recorder(path, 3, 10_000)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(root), cwd=root) as child:
        assert child.stdout is not None
        acknowledged = 0
        for _ in range(acknowledgements):
            acknowledged = int(child.stdout.readline().split()[1])
        child.send_signal(signal.SIGKILL)
        # What it still managed to say before the signal came counts, too.
        for line in child.stdout:
            acknowledged = int(line.split()[1])
    catalogue = open_catalogue(path)
    held = [record.identity for record in catalogue.list_instances(study_ref())]
    assert held[:acknowledged] == [identity(1, 1, number) for number in range(1, acknowledged + 1)]
    assert len(held) % 3 == 0  # a batch is there as a whole or not at all
    head = catalogue.head()
    assert catalogue.state(study_ref()) == head.seq == len(held) // 3
    assert catalogue.feed(FeedCursor(head.epoch, head.seq - 1), 10)[0].seq == head.seq
    assert len(catalogue.outbox("consumer", 100_000)) == len(held)
    assert catalogue.totals().instances == len(held)
    catalogue.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_log_is_synced_before_a_batch_is_acknowledged(root: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    tracer = ("strace", "-f", "-y", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o", str(trace))
    command = recorder(tmp_path / "catalogue.sqlite", 2, 5, *tracer)
    subprocess.run(command, env=environment(root), cwd=root, check=True, stdout=subprocess.DEVNULL, timeout=60)
    log = re.compile(r"catalogue\.sqlite-wal>")
    unsynced = False
    written = acknowledged = 0
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        if "pwrite64(" in line and log.search(line):
            unsynced = True
            written += 1
        elif "sync(" in line and log.search(line):
            unsynced = False
        elif "acknowledged" in line:
            assert not unsynced
            acknowledged += 1
    assert acknowledged == 5
    assert written >= acknowledged
