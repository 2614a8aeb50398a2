"""The steps of the demonstration, each a fact that the report states."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data

from nearframe.demo.nodes import DemoNode
from nearframe.demo.reader import Reader, Reading
from nearframe.errors import BackendFailed, IntegrityError, NotFound
from nearframe.units import counted

FOLLOW_S = 60.0
_QUIET_S = 0.5
_ASK_AGAIN_S = 0.05
CORRECTED_NAME = "Corrected^Name"
MAX_FRAMES = 200  # of the study that is opened: enough for a median, quick enough to watch

_EXTENT = ("00280010", "00280011", "00280008")  # Rows, Columns, Number of Frames

Say = Callable[[str], None]


@dataclass(slots=True)
class Report:
    """What the demonstration found. Times are medians, in milliseconds; sizes in bytes."""

    studies: int = 0
    instances_sent: int = 0
    import_seconds: float = 0.0
    frames_opened: int = 0
    frame_bytes: int = 0
    study_bytes: int = 0
    first_byte_origin_ms: float = 0.0
    first_byte_edge_cold_ms: float = 0.0
    first_byte_edge_warm_ms: float = 0.0
    corrected_instances: int = 0
    correction_bytes: int = 0
    correction_frames: int = 0
    byte_exact_instances: int = 0
    frames_served_without_origin: int = 0
    first_byte_without_origin_ms: float = 0.0
    dedupe: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def saved_ratio(self) -> float:
        """Part of the study's bytes that the correction did not move."""
        return 1 - self.correction_bytes / self.study_bytes if self.study_bytes else 0.0


def packaged_data() -> Path:
    """Return the folder of real DICOM files that pydicom carries in its wheel."""
    return Path(pydicom.data.__file__).parent / "test_files"


def run(origin: DemoNode, edge: DemoNode, data: Path, say: Say) -> Report:
    """Play the whole story on two nodes that are started here and left running, the origin last cut and restarted."""
    report = Report()
    say("Starting an origin and an edge that follows it")
    origin.start()
    edge.start()
    near, far = Reader(edge.url), Reader(origin.url)
    try:
        say(f"Importing {data.name} into the origin")
        _import(origin, data, report)
        _follow(near, far)
        study, instances = _study_to_open(far)
        say(f"Opening a study of {counted(len(instances), 'instance')} through the edge")
        _open(near, far, study, instances, report)
        say("Sending the study again with a corrected patient name")
        _correct(near, far, study, instances, report)
        report.dedupe = _dedupe(far)
        say("Cutting the origin off, and reading the study again")
        origin.cut()
        again = near.read_frames(study, instances)
        report.frames_served_without_origin = again.frames
        report.first_byte_without_origin_ms = again.median_first_byte_ms
        say("Bringing the origin back")
        origin.start()
    finally:
        near.close()
        far.close()
    return report


def _import(origin: DemoNode, data: Path, report: Report) -> None:
    """Import as a user does: with the command, so its progress and its report are what users get."""
    start = time.monotonic()
    command = [sys.executable, "-m", "nearframe", "import", str(data), "--to", origin.url, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    # 1 says that some files were refused: broken ones are part of any real folder.
    if done.returncode not in (0, 1):
        raise BackendFailed(f"the import failed: {done.stderr.strip()[-500:]}")
    report.import_seconds = time.monotonic() - start
    report.instances_sent = int(json.loads(done.stdout)["stored"])


def _follow(near: Reader, far: Reader) -> None:
    """Wait until the edge has taken in everything the origin's feed holds."""
    deadline = time.monotonic() + FOLLOW_S
    while time.monotonic() < deadline:
        head = far.status()["feed"]["head"]
        upstream = near.status()["upstream"]
        if upstream["cursor"] == head and not upstream["lag"]:
            return
        time.sleep(_ASK_AGAIN_S)
    raise BackendFailed(f"the edge did not catch up within {FOLLOW_S:g} s")


def _study_to_open(far: Reader) -> tuple[str, list[tuple[str, str, int]]]:
    """Choose the study with the most pixels: a correction shows best where there is much not to move."""
    samples: Counter[str] = Counter()
    for one in far.json("/dicomweb/instances", limit=1000, includefield="00280008,00280010,00280011"):
        rows, columns, frames = (_count(one, tag, 0 if tag != "00280008" else 1) for tag in _EXTENT)
        samples[_first(one, "0020000D", "")] += rows * columns * frames
    if not samples.total():
        raise NotFound("study with pictures in the data; --data names a folder of DICOM images")
    uid = samples.most_common(1)[0][0]
    chosen: list[tuple[str, str, int]] = []
    for series, instance, frames in far.instances(uid):
        if sum(count for _, _, count in chosen) + frames > MAX_FRAMES:
            break
        chosen.append((series, instance, frames))
    return uid, chosen


def _count(one: dict[str, Any], tag: str, default: int) -> int:
    value = _first(one, tag, default)
    return value if isinstance(value, int) else 0  # what is no number stays text (PS3.18 F.2.3)


def _first(one: dict[str, Any], tag: str, default: Any) -> Any:
    return (one.get(tag, {}).get("Value") or [default])[0]


def _open(near: Reader, far: Reader, study: str, instances: list[tuple[str, str, int]], report: Report) -> None:
    cold: Reading = near.read_frames(study, instances)
    warm = near.read_frames(study, instances)
    direct = far.read_frames(study, instances)
    report.studies = len(far.json("/dicomweb/studies", limit=200))
    report.frames_opened = cold.frames
    report.frame_bytes = direct.received_bytes
    report.first_byte_edge_cold_ms = cold.median_first_byte_ms
    report.first_byte_edge_warm_ms = warm.median_first_byte_ms
    report.first_byte_origin_ms = direct.median_first_byte_ms


def _correct(near: Reader, far: Reader, study: str, instances: list[tuple[str, str, int]], report: Report) -> None:
    before = _moved_once_quiet(near)
    for series, instance, _ in instances:
        stored = far.read_instance(study, series, instance)
        report.study_bytes += len(stored)
        far.store(_renamed(stored))
    _follow(near, far)
    after = _moved(near)
    report.corrected_instances = len(instances)
    report.correction_bytes = sum(after[kind] - before[kind] for kind in after if kind.endswith("_bytes"))
    report.correction_frames = after["frames"] - before["frames"]
    for series, instance, _ in instances:
        if near.read_instance(study, series, instance) != far.read_instance(study, series, instance):
            raise IntegrityError("the edge's copy differs from the origin's after the correction")
        report.byte_exact_instances += 1


def _renamed(part10: bytes) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(part10), force=True)
    # Never the same twice: in a home of an earlier demonstration what was sent before would change nothing.
    ds.PatientName = f"{CORRECTED_NAME}^{secrets.token_hex(2)}"
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def _moved_once_quiet(near: Reader) -> dict[str, int]:
    """Return what came to the edge once nothing more is fetched ahead: that is no part of a correction."""
    deadline = time.monotonic() + FOLLOW_S
    moved = _moved(near)
    while time.monotonic() < deadline:
        time.sleep(_QUIET_S)
        now = _moved(near)
        if now["frames"] == moved["frames"]:
            return now
        moved = now
    return moved


def _moved(near: Reader) -> dict[str, int]:
    moved = near.status()["moved"]
    kinds = ("frames", "frame_bytes", "header_bytes", "manifest_bytes", "delta_bytes", "feed_bytes")
    return {kind: int(moved.get(kind, 0)) for kind in kinds}


def _dedupe(far: Reader) -> dict[str, Any]:
    """Return the perceptual report once the background work has caught up."""
    deadline = time.monotonic() + FOLLOW_S
    while time.monotonic() < deadline:
        jobs = far.status().get("background", {})
        if not any(job["lag"] for job in jobs.values()):
            break
        time.sleep(_ASK_AGAIN_S)
    found: dict[str, Any] = far.json("/api/reports/dedupe")
    return found
