"""Speed of the codecs, what they save, and whether they let other threads run.

    python -m bench.codecs [FOLDER]

With FOLDER (or the tests' own) real slices and photographs are measured, otherwise
made ones. MB/s counts native bytes per second of CPU on one core, best of five. "Stall"
is the longest time another thread waited for the GIL during the fastest of five rounds;
a codec that holds it stalls for as long as a frame takes.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np

from bench.corpus import slice_pixels
from bench.studies import studies_folder
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import decode_frame, is_reversible
from nearframe.dicom.encoders import ENCODERS
from nearframe.dicom.frames import pix_digest
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, encode_native
from nearframe.dicom.render import THUMBNAIL_PIXELS, RenderOptions, render
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.dicom.source import BytesSource
from nearframe.dicom.split import read_piece, split
from nearframe.dicom.targets import can_encode, decoded_description
from nearframe.dicom.transcode import best_rendition
from nearframe.dicom.viewport import Viewport
from nearframe.errors import NearframeError

ROUNDS = 5
SETS = (
    ("CT head", "ct-head-ge"),
    ("MR head", "mr-structural-t1"),
    ("CT spine", "patient-timeline"),
    ("US, XA, NM cine", "cine"),
)
FRAMES_PER_SET = 6
#: One name for each stream; the other transfer syntaxes carry the same ones.
MEASURED = (ts.HTJ2KLosslessRPCL, ts.JPEG2000Lossless, ts.JPEGLSLossless, ts.JPEGLosslessSV1, ts.RLELossless)


@dataclass(frozen=True)
class Picture:
    samples: Samples
    pixel: PixelDescription

    @property
    def native(self) -> bytes:
        return encode_native(self.samples, self.pixel)


def pictures(folder: Path) -> list[Picture]:
    """Return some frames of a folder, spread over its files: those that may be encoded again."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        source = BytesSource(path.read_bytes())
        try:
            instance = split(source)
            if instance.pixel is None or not instance.frame_pieces or instance.pixel.rows < 200:
                continue
            encoded = b"".join(read_piece(instance, source, instance.pieces[instance.frame_pieces[0]]))
            if not is_reversible(encoded, instance.transfer_syntax_uid, instance.pixel):
                continue
            samples = decode_frame(encoded, instance.transfer_syntax_uid, instance.pixel)
        except NearframeError:
            continue
        found.append(Picture(samples, decoded_description(instance.transfer_syntax_uid, instance.pixel)))
    return found[:: max(1, len(found) // FRAMES_PER_SET)][:FRAMES_PER_SET]


def made() -> list[Picture]:
    pixel = PixelDescription(512, 512, 1, 16, 12, 11, 0, "MONOCHROME2")
    return [Picture(slice_pixels(512, seed), pixel) for seed in range(FRAMES_PER_SET)]


def cpu_seconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        call()
        times.append(time.thread_time() - started)
    return min(times)


def repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def stall_ms(call: Callable[[], object]) -> tuple[float, float]:
    """Return the longest wait of another thread, and how long the call took, of the calmest round."""
    best = (float("inf"), 0.0)
    for _ in range(ROUNDS):
        done = threading.Event()

        def work(done: threading.Event = done) -> None:
            call()
            done.set()

        thread = threading.Thread(target=work)
        longest, started = 0.0, time.perf_counter()
        thread.start()
        last = started
        while not done.is_set():
            time.sleep(0.0002)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        thread.join()
        best = min(best, (1000 * longest, 1000 * (time.perf_counter() - started)))
    return best


def print_codecs(name: str, group: list[Picture]) -> None:
    total = sum(len(picture.native) for picture in group)
    for uid in MEASURED:
        encode = ENCODERS[uid]
        if not all(can_encode(uid, picture.pixel) for picture in group):
            continue
        encoded = [encode(picture.samples, picture.pixel) for picture in group]
        encoding = sum(cpu_seconds(partial(encode, picture.samples, picture.pixel)) for picture in group)
        decoding = sum(
            cpu_seconds(partial(decode_frame, frame, uid, picture.pixel))
            for frame, picture in zip(encoded, group, strict=True)
        )
        ratio = total / sum(map(len, encoded))
        print(
            f"| {name} | {ts.transfer_syntax(uid).keyword} | {ratio:.2f} | {total / encoding / 1e6:.0f} "
            f"| {total / decoding / 1e6:.0f} |"
        )


def print_prefixes(name: str, group: list[Picture]) -> None:
    shares = []
    for picture in group:
        rendition = best_rendition(picture.native, ts.ExplicitVRLittleEndian, picture.pixel)
        if rendition is not None:
            shares.append([offset / len(rendition.encoded) for offset in rendition.resolution_offsets[-4:-1]])
    if shares:
        print(f"| {name} | {' | '.join(f'{100 * share:.1f} %' for share in np.median(shares, axis=0))} |")


def print_stalls(picture: Picture) -> None:
    samples, pixel = picture.samples, picture.pixel
    grey = (samples >> 4).astype(np.uint8)
    baseline = bytes(imagecodecs.jpeg8_encode(grey, level=90))
    eight_bit = PixelDescription(pixel.rows, pixel.columns, 1, 8, 8, 7, 0, "MONOCHROME2")
    calls: dict[str, Callable[[], object]] = {
        "JPEGBaseline8Bit decode": partial(decode_frame, baseline, ts.JPEGBaseline8Bit, eight_bit)
    }
    for uid in MEASURED:
        encode = ENCODERS[uid]
        encoded = encode(samples, pixel)
        keyword = ts.transfer_syntax(uid).keyword
        calls[f"{keyword} encode"] = partial(encode, samples, pixel)
        calls[f"{keyword} decode"] = partial(decode_frame, encoded, uid, pixel)
    for name, call in calls.items():
        stall, took = stall_ms(partial(repeat, call, 5))
        print(f"| {name} | {took:.1f} | {stall:.1f} |")


def print_steps(picture: Picture) -> None:
    native = picture.native
    small = RenderOptions(viewport=Viewport(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    steps: dict[str, Callable[[], object]] = {
        "pix digest of a native frame": lambda: pix_digest(picture.samples, picture.pixel),
        "rendition, proved": lambda: best_rendition(native, ts.ExplicitVRLittleEndian, picture.pixel),
        "thumbnail 256 x 256": lambda: render(
            native, ts.ExplicitVRLittleEndian, picture.pixel, RenderParameters(modality="CT"), small
        ),
    }
    for name, call in steps.items():
        print(f"| {name} | {1000 * cpu_seconds(call):.2f} ms |")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else studies_folder()
    groups = {"made CT": made()}
    if folder:
        groups |= {name: found for name, path in SETS if (found := pictures(folder / path))}
    print("| pictures | codec | ratio | encode MB/s | decode MB/s |\n|--|--|--|--|--|")
    for name, group in groups.items():
        print_codecs(name, group)
    print("\n| pictures | 1/8 | 1/4 | 1/2 |\n|--|--|--|--|")
    for name, group in groups.items():
        print_prefixes(name, group)
    large = Picture(slice_pixels(1024, 1), PixelDescription(1024, 1024, 1, 16, 12, 11, 0, "MONOCHROME2"))
    print("\n| five frames of 1024 x 1024 | took ms | stall ms |\n|--|--|--|")
    print_stalls(large)
    print("\n| one frame of 512 x 512 x 16 | CPU |\n|--|--|")
    print_steps(groups["made CT"][0])


if __name__ == "__main__":
    main()
