"""How well the perceptual hash tells pictures apart, and what it cannot see.

    python -m bench.perceptual [FOLDER]

FOLDER holds the real studies (the tests' own otherwise). Prints the tables of
docs/reference/perceptual.md: distances between a frame and its neighbours, between a frame
and edited copies of itself, between series, and between studies of one patient.
"""

from __future__ import annotations

import io
import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.studies import studies_folder
from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.dicom.source import BytesSource
from nearframe.dicom.split import read_piece, split
from nearframe.dicom.targets import decoded_description
from nearframe.errors import NearframeError
from nearframe.perceptual.phash import PerceptualHash, hash_frame

#: Name in the table, folder below the data folder.
SETS = (
    ("CT head 4-7 mm", "ct-head-ge"),
    ("MR head T1 1 mm", "mr-structural-t1"),
    ("spine CT and MR", "patient-timeline"),
    ("thigh CT, MR, PET", "multimodality-sts005"),
)
MAX_EDITED_FRAMES = 14
LESION_FWHM_MM, LESION_HU = 7.0, 60.0


@dataclass(frozen=True)
class Frame:
    study: str
    series: str
    date: str
    position: float
    samples: Samples
    pixel: PixelDescription
    parameters: RenderParameters
    spacing_mm: float

    def hash(self) -> PerceptualHash:
        return hash_frame(self.samples, self.pixel, self.parameters)

    def with_samples(self, samples: Samples) -> Frame:
        return replace(
            self, samples=samples, pixel=replace(self.pixel, rows=samples.shape[0], columns=samples.shape[1])
        )


def frames_of(folder: Path) -> Iterator[Frame]:
    """Yield the frames of a folder's images, those that can be decoded."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        source = BytesSource(path.read_bytes())
        try:
            instance = split(source)
        except NearframeError:
            continue
        pixel, metadata = instance.pixel, instance.metadata
        if pixel is None:
            continue
        for index, piece in enumerate(instance.frame_pieces):
            encoded = b"".join(read_piece(instance, source, instance.pieces[piece]))
            try:
                samples = decode_frame(encoded, instance.transfer_syntax_uid, pixel)
            except NearframeError:
                continue
            yield Frame(
                instance.identity.study_instance_uid,
                instance.identity.series_instance_uid,
                str(first(metadata, "00080020", "")),
                _position(metadata, index),
                samples,
                decoded_description(instance.transfer_syntax_uid, pixel),
                RenderParameters.from_metadata(metadata, index),
                float(first(metadata, "00280030", 1.0)),
            )


def first(metadata: dict[str, Any], tag: str, default: Any) -> Any:
    return next(iter(metadata.get(tag, {}).get("Value", [])), default)


def _position(metadata: dict[str, Any], frame_index: int) -> float:
    """Distance along the slice normal; Instance Number where there is no geometry."""
    origin = metadata.get("00200032", {}).get("Value", [])
    axes = metadata.get("00200037", {}).get("Value", [])
    if len(origin) == 3 and len(axes) == 6:
        return float(np.dot(np.cross(axes[:3], axes[3:]), origin))
    return float(first(metadata, "00200013", 0) or 0) + frame_index / 1000


def distance(a: PerceptualHash, b: PerceptualHash) -> int:
    return (int.from_bytes(a.bits) ^ int.from_bytes(b.bits)).bit_count()


def by_series(frames: list[Frame]) -> list[list[Frame]]:
    series: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        series[frame.series].append(frame)
    return [sorted(group, key=lambda frame: frame.position) for group in series.values() if len(group) >= 12]


# -- edits ---------------------------------------------------------------------------------


def _limits(samples: Samples) -> tuple[int, int]:
    return int(samples.min()), int(samples.max())


def lesion(frame: Frame) -> Frame:
    """Add a Gaussian blob of 7 mm and 60 HU (or 6 % of the range) inside the body."""
    samples = frame.samples
    rows, columns = samples.shape
    inside = np.argwhere(samples[rows // 4 : -rows // 4, columns // 4 : -columns // 4] > np.percentile(samples, 60))
    if not len(inside):
        return frame
    row, column = inside[len(inside) // 3] + (rows // 4, columns // 4)
    sigma = LESION_FWHM_MM / 2.355 / frame.spacing_mm
    y, x = np.ogrid[:rows, :columns]
    blob = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2))
    slope = frame.parameters.modality_transform.slope
    low, high = _limits(samples)
    height = LESION_HU / slope if frame.parameters.modality == "CT" else 0.06 * (high - low)
    return frame.with_samples((samples + blob * height).astype(samples.dtype))


def burned_box(frame: Frame) -> Frame:
    samples = frame.samples.copy()
    samples[8 : 8 + samples.shape[0] // 16, 8 : 8 + samples.shape[1] // 3] = samples.max()
    return frame.with_samples(samples)


def noise(frame: Frame) -> Frame:
    low, high = _limits(frame.samples)
    sd = 10 if frame.parameters.modality == "CT" else 0.02 * (high - low)
    values = frame.samples + np.random.default_rng(1).normal(0, sd, frame.samples.shape)
    return frame.with_samples(np.clip(values, low, high).astype(frame.samples.dtype))


def gamma(frame: Frame) -> Frame:
    low, high = _limits(frame.samples)
    curved = ((frame.samples - low) / max(high - low, 1)) ** 0.8 * (high - low) + low
    return frame.with_samples(curved.astype(frame.samples.dtype))


def shifted(frame: Frame) -> Frame:
    return frame.with_samples(np.roll(frame.samples, (3, 3), (0, 1)))


def _resampled(frame: Frame, change: Callable[[Image.Image], Image.Image]) -> Frame:
    image = change(Image.fromarray(frame.samples.astype(np.float32)))
    low, high = _limits(frame.samples)
    return frame.with_samples(np.clip(np.asarray(image), low, high).astype(frame.samples.dtype))


def rotated(degrees: float) -> Callable[[Frame], Frame]:
    def edit(frame: Frame) -> Frame:
        fill = float(frame.samples.min())
        return _resampled(frame, lambda image: image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=fill))

    return edit


def half_size(frame: Frame) -> Frame:
    rows, columns = frame.samples.shape
    return _resampled(frame, lambda image: image.resize((columns // 2, rows // 2), Image.Resampling.BOX))


def secondary_capture(low_percentile: float, quality: int | None) -> Callable[[Frame], Frame]:
    """Make an 8-bit copy with another window, through JPEG if there is a quality."""

    def edit(frame: Frame) -> Frame:
        values = frame.parameters.modality_transform.apply(frame.samples.astype(float))
        low, high = np.percentile(values, [low_percentile, 99.5])
        shown = np.clip((values - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
        if quality is not None:
            out = io.BytesIO()
            Image.fromarray(shown).save(out, "JPEG", quality=quality)
            shown = np.asarray(Image.open(out))
        pixel = PixelDescription(shown.shape[0], shown.shape[1], 1, 8, 8, 7, 0, "MONOCHROME2")
        return replace(frame, samples=shown, pixel=pixel, parameters=RenderParameters(modality="SC"))

    return edit


EDITS: dict[str, Callable[[Frame], Frame]] = {
    "lesion": lesion,
    "noise": noise,
    "burned box": burned_box,
    "gamma .8": gamma,
    "8-bit copy": secondary_capture(0.5, None),
    "8-bit, other window": secondary_capture(40, None),
    "8-bit JPEG q50": secondary_capture(0.5, 50),
    "half size": half_size,
    "shift 3 px": shifted,
    "rot 1": rotated(1),
    "rot 5": rotated(5),
    "rot 90": rotated(90),
}


# -- tables --------------------------------------------------------------------------------


def print_edits(name: str, series: list[list[Frame]]) -> None:
    neighbours: dict[int, list[int]] = {1: [], 5: []}
    edits: dict[str, list[int]] = {edit: [] for edit in EDITS}
    for group in series:
        hashes = [frame.hash() for frame in group]
        for step, distances in neighbours.items():
            distances += [distance(a, b) for a, b in zip(hashes, hashes[step:], strict=False)]
        middle = group[len(group) // 4 : -(len(group) // 4) or None]
        for frame in middle[:: max(1, len(middle) // MAX_EDITED_FRAMES)]:
            original = frame.hash()
            for edit, change in EDITS.items():
                edits[edit].append(distance(original, change(frame).hash()))
    cells = [cell(neighbours[1]), cell(neighbours[5]), *(cell(edits[edit]) for edit in EDITS)]
    print(f"| {name} | {' | '.join(cells)} |")


def cell(distances: list[int]) -> str:
    """Median, largest, and the share of pairs with equal hashes."""
    if not distances:
        return "-"
    zero = 100 * sum(d == 0 for d in distances) // len(distances)
    return f"{np.median(distances):.0f} ({max(distances)})" + (f" z{zero}" if zero else "")


def print_between_series(sets: dict[str, list[list[Frame]]]) -> None:
    labelled = [(name, group) for name, series in sets.items() for group in series]
    matrices = [np.array([np.frombuffer(f.hash().bits, np.uint64) for f in group]) for _, group in labelled]
    same: list[np.ndarray] = []
    other: list[np.ndarray] = []
    for (a, first_set), (b, second_set) in itertools.combinations(zip(matrices, labelled, strict=True), 2):
        counts = np.bitwise_count(a[:, None, :] ^ b[None, :, :]).sum(axis=2)
        (same if first_set[0] == second_set[0] else other).append(counts.ravel())
    for label, found in (("series of one set (one patient)", same), ("series of different patients", other)):
        values = np.concatenate(found)
        low, one_percent, median = values.min(), np.percentile(values, 1), np.percentile(values, 50)
        print(f"| {label} | {values.size} | {low} | {one_percent:.0f} | {median:.0f} | {(values <= 31).sum()} |")


def print_priors(frames: list[Frame], strangers: list[Frame]) -> None:
    """For each frame the nearest in another study of the same modality, of the same and of other patients."""
    for modality in ("CT", "MR"):
        own = [frame for frame in frames if frame.parameters.modality == modality]
        hashes = [frame.hash() for frame in own]
        foreign = [frame.hash() for frame in strangers if frame.parameters.modality == modality]
        prior = [
            min((distance(a, b) for b, g in zip(hashes, own, strict=True) if g.date != f.date), default=None)
            for a, f in zip(hashes, own, strict=True)
        ]
        found = [d for d in prior if d is not None]
        stranger = [min(distance(a, b) for b in foreign) for a in hashes if foreign]
        for label, distances in (("own study of another day", found), ("any study of a stranger", stranger)):
            if distances:
                spread = " / ".join(f"{p:.0f}" for p in np.percentile(distances, [0, 10, 50, 90]))
                print(f"| {modality} | {label} | {len(distances)} | {spread} |")


def print_speed(frames: list[Frame]) -> None:
    largest = [frame for frame in frames if frame.samples.shape[:2] == (512, 512)][:20]
    times = []
    for frame in largest:
        started = time.process_time()
        frame.hash()
        times.append(time.process_time() - started)
    if times:
        print(f"\n512 x 512: {1000 * min(times):.2f} ms CPU at best, median {1000 * float(np.median(times)):.2f} ms")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else studies_folder()
    if folder is None:
        sys.exit("no folder of real studies: name one, or set NEARFRAME_TEST_DATA")
    sets = {name: list(frames_of(folder / path)) for name, path in SETS}
    series = {name: by_series(frames) for name, frames in sets.items()}
    print("| set | next | +5 |", " | ".join(EDITS), "|")
    print("|--" * (len(EDITS) + 3) + "|")
    for name, groups in series.items():
        print_edits(name, groups)
    print("\n| pairs from | n | min | 1 % | median | at most 31 |\n|--|--|--|--|--|--|")
    print_between_series(series)
    print("\n| modality | nearest frame in | n | min / 10 % / median / 90 % |\n|--|--|--|--|")
    timeline = sets["spine CT and MR"]
    print_priors(timeline, [frame for name, frames in sets.items() if name != "spine CT and MR" for frame in frames])
    print_speed(sets["CT head 4-7 mm"])
    qualities = [frame.hash().quality for frames in sets.values() for frame in frames]
    print("quality, percentiles 0 1 5 50:", *np.percentile(qualities, [0, 1, 5, 50]).astype(int))


if __name__ == "__main__":
    main()
