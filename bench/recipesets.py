"""The workloads of `bench.recipes`: real frames, and some made from real ones."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from nearframe.delta.evidence import KnownFrame
from nearframe.delta.frame import FrameForm, bytes_of, samples_of
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.frames import pix_of_frame
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, encode_native
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.dicom.source import BytesSource
from nearframe.dicom.split import read_piece, split
from nearframe.errors import NearframeError
from nearframe.ids import Digest, Identity, sha256
from nearframe.perceptual.phash import hash_frame

Store = dict[Digest, bytes]


@dataclass(frozen=True)
class Workload:
    """Frames a receiver holds, and frames sent to it.

    Attributes
    ----------
    by_likeness
        True to look for bases by perceptual hash as well.
    """

    name: str
    held: Sequence[KnownFrame]
    sent: Sequence[KnownFrame]
    store: Store
    made_here: bool = False
    by_likeness: bool = False


@dataclass(frozen=True)
class Loss:
    """Pairs of a frame and another that nobody should take for its base."""

    name: str
    pairs: Sequence[tuple[KnownFrame, KnownFrame]]
    store: Store


@dataclass(frozen=True)
class Hashed:
    """A frame with its perceptual hash."""

    identity: Identity
    enc: Digest
    pix: Digest | None
    hash: bytes
    quality: int
    frame_index: int
    length: int
    version: int = 1
    modality: str = ""


# -- reading -----------------------------------------------------------------------------------


def frames_in(folder: Path, store: Store, pattern: str = "*") -> list[KnownFrame]:
    """Return the frames of the objects in a folder, or of one file; fill `store`."""
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob(pattern) if path.is_file())
    return [frame for path in paths for frame in _frames_of(path, store)]


def _frames_of(path: Path, store: Store) -> Iterator[KnownFrame]:
    source = BytesSource(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    try:
        instance = split(source)
    except NearframeError:
        return
    for index, piece in enumerate(instance.frame_pieces):
        encoded = b"".join(read_piece(instance, source, instance.pieces[piece]))
        form = add(store, encoded, instance.transfer_syntax_uid, instance.pixel)
        yield KnownFrame(form, _pix(encoded, form), instance.identity, index, instance.metadata)


def add(store: Store, encoded: bytes, transfer_syntax_uid: str, pixel: PixelDescription | None) -> FrameForm:
    form = FrameForm(sha256(encoded), len(encoded), transfer_syntax_uid, pixel)
    store[form.enc] = encoded
    return form


def _pix(encoded: bytes, form: FrameForm) -> Digest | None:
    if form.pixel is None:
        return None
    try:
        return pix_of_frame(encoded, form.transfer_syntax_uid, form.pixel)
    except NearframeError:
        return None


def with_depth(frame: KnownFrame, depth: int) -> KnownFrame:
    return replace(frame, depth=depth)


def hashed(work: Workload, frames: Iterable[KnownFrame]) -> list[Hashed]:
    """Return frames with their hashes."""
    found = []
    for frame in frames:
        pixel = frame.form.pixel
        if pixel is None:
            continue
        samples = decode_frame(work.store[frame.form.enc], frame.form.transfer_syntax_uid, pixel)
        parameters = RenderParameters.from_metadata(frame.metadata, frame.frame_index)
        one = hash_frame(samples, pixel, parameters)
        form = frame.form
        found.append(Hashed(frame.identity, form.enc, frame.pix, one.bits, one.quality, frame.frame_index, form.length))
    return found


# -- real workloads ----------------------------------------------------------------------------


def resent(data: Path) -> Iterator[Workload]:
    """The same pictures, sent again by another system."""
    timeline, philips = data / "patient-timeline", data / "classic-vs-enhanced-philips"
    sets = {
        "MR, imported by a second hospital": (
            timeline / "1-mr-20180107-original-cd",
            timeline / "2-mr-20180107-imported-by-second-hospital",
        ),
        "enhanced MR, rewritten by a PACS": (
            data / "pacs-rewrite-agfa" / "Siemens",
            data / "pacs-rewrite-agfa" / "Agfa",
        ),
        "MR, classic then enhanced": (philips / "cl", philips / "enh"),
        "MR, enhanced then classic": (philips / "enh", philips / "cl"),
    }
    for name, (first, second) in sets.items():
        store: Store = {}
        yield Workload(name, frames_in(first, store), frames_in(second, store), store)


def reencoded(data: Path) -> Iterator[Workload]:
    """One CT slice in other transfer syntaxes, by other systems' encoders."""
    zoo = data / "zoo" / "cornerstone"
    store: Store = {}
    native = frames_in(zoo, store, "CTImage.dcm_LittleEndianExplicit*")
    for codec in ("JPEG2000LosslessOnly", "JPEGLSLossless", "RLELossless", "JPEGProcess14SV1"):
        other = frames_in(zoo, store, f"CTImage.dcm_{codec}TransferSyntax*")
        yield Workload(f"CT, native then {codec}", native, other, store)
        yield Workload(f"CT, {codec} then native", other, native, store)
    big_endian = frames_in(zoo, store, "CTImage.dcm_BigEndianExplicit*")
    if big_endian:
        yield Workload("CT, native then big endian", native, big_endian, store)


def cine(data: Path) -> Iterator[Workload]:
    """Multi-frame objects sent whole, to a receiver that holds nothing."""
    folder = data / "cine"
    for name, path in {
        "US cine, grey, native": "deid-data/GREYSCALE_CINE.dcm",
        "US cine, RGB, native": "dicomParser/IM00001.implicit_little_endian.dcm",
        "US cine, palette, RLE": "dcm4che/US-PAL-8-10x-echo",
        "US cine, JPEG": "pydicom/examples_ybr_color.dcm",
        "XA cine, JPEG": "static-dicomweb/jpeg8bit.dcm",
        "NM, 13 frames, native": "dcm4che/NM-MONO2-16-13x-heart",
    }.items():
        store: Store = {}
        yield Workload(name, [], frames_in(folder / path, store), store)


def functional(data: Path) -> Iterator[Workload]:
    """Ten volumes of functional MR, in the order they were taken."""
    store: Store = {}
    frames = frames_in(data / "fmri-repeats", store)
    yield Workload("fMRI, 10 volumes", [], sorted(frames, key=lambda one: one.traits.moment), store)


def stills(data: Path) -> Iterator[Workload]:
    """Colour photographs and ultrasound stills, to a receiver that holds nothing."""
    folder = data / "colour-stills"
    store: Store = {}
    photographs = frames_in(folder / "deid-data", store, "image*.dcm")
    yield Workload("photographs, JPEG", [], photographs, store)
    yield Workload("US stills, native", [], frames_in(folder / "deid-data", store, "*_IMAGE.dcm"), store)
    yield Workload("dermoscopy and fundus, JPEG", [], _bare_jpegs(folder, store), store)


def new_acquisitions(data: Path) -> Iterator[Workload]:
    """A new study to a receiver that holds the patient's earlier ones."""
    timeline = data / "patient-timeline"
    store: Store = {}
    first = frames_in(timeline / "1-mr-20180107-original-cd", store)
    second = frames_in(timeline / "3-mr-20180113", store)
    yield Workload("MR six days later, prior held", first, second, store, by_likeness=True)
    yield Workload("CT of the same spine, priors held", [*first, *second], _spine(timeline, store), store)


def _spine(timeline: Path, store: Store) -> list[KnownFrame]:
    return frames_in(timeline / "4-ct-20180201", store)


def _bare_jpegs(folder: Path, store: Store) -> list[KnownFrame]:
    found = []
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))):
        stream = path.read_bytes()
        rows, columns = imagecodecs.jpeg8_decode(stream).shape[:2]
        pixel = PixelDescription(rows, columns, 3, 8, 8, 7, 0, "YBR_FULL_422", lossy=True)
        form = add(store, stream, ts.JPEGBaseline8Bit, pixel)
        uid = f"2.25.{number}"
        found.append(KnownFrame(form, None, Identity("1.2", uid, uid, uid), 0, {}))
    return found


# -- workloads made here -----------------------------------------------------------------------


def _made(frame: KnownFrame, store: Store, encoded: bytes, **more: Any) -> KnownFrame:
    """Return a frame with other bytes; `more` replaces fields of it."""
    pixel = more.pop("pixel", frame.form.pixel)
    form = add(store, encoded, frame.form.transfer_syntax_uid, pixel)
    return replace(frame, form=form, pix=_pix(encoded, form), **more)


def _samples(frame: KnownFrame, store: Store) -> Samples:
    samples = samples_of(store[frame.form.enc], frame.form)
    assert samples is not None
    return samples


def _pixel(frame: KnownFrame) -> PixelDescription:
    assert frame.form.pixel is not None
    return frame.form.pixel


def _new_series(frame: KnownFrame, number: int) -> Identity:
    identity = frame.identity
    return Identity(identity.sop_class_uid, f"2.25.9{number}", "2.25.9", identity.study_instance_uid)


def edited(data: Path) -> Iterator[Workload]:
    """Copies as PACS and people make them."""
    store: Store = {}
    head = frames_in(data / "ct-head-ge", store)
    windowed = [_windowed(frame, number, store) for number, frame in enumerate(head)]
    yield Workload("CT head, windowed to 8 bit, found by place", head, windowed, store, made_here=True)
    bare = [replace(frame, metadata={"00080060": {"vr": "CS", "Value": ["CT"]}}) for frame in windowed]
    yield Workload("CT head, windowed, found by likeness", head, bare, store, made_here=True, by_likeness=True)
    shifted = [_made(one, store, bytes_of(_samples(one, store) + 24, one.form), version=2) for one in head]
    yield Workload("CT head, values shifted by 24", head, shifted, store, made_here=True)
    lettered = [_made(one, store, bytes_of(_lettered(_samples(one, store)), one.form), version=2) for one in head]
    yield Workload("CT head, a line of text burned in", head, lettered, store, made_here=True)
    stills = frames_in(data / "colour-stills" / "deid-data", store, "*_IMAGE.dcm")
    blacked = [_made(one, store, bytes_of(_blacked(_samples(one, store)), one.form), version=2) for one in stills]
    yield Workload("US stills, name blacked out", stills, blacked, store, made_here=True)
    sick = [_made(one, store, bytes_of(_with_lesion(_samples(one, store)), one.form), version=2) for one in head]
    yield Workload("CT head, a lesion put in", head, sick, store, made_here=True, by_likeness=True)


def photographs(data: Path) -> Iterator[Workload]:
    """JPEG photographs changed without and with a new scan."""
    store: Store = {}
    folder = data / "colour-stills"
    first = [*frames_in(folder / "deid-data", store, "image*.dcm"), *_bare_jpegs(folder, store)]
    comment = b"\xff\xfe\x00\x1ecorrected orientation, left"
    retold = [_made(one, store, _with_segment(store[one.form.enc], comment), version=2) for one in first]
    yield Workload("photographs, EXIF changed", first, retold, store, made_here=True)
    again = [_made(one, store, _recompressed(store[one.form.enc]), version=2) for one in first]
    yield Workload("photographs, saved again at quality 85", first, again, store, made_here=True)


def thick_slices(data: Path) -> Iterator[Workload]:
    """Thick CT slices averaged from real thin ones: the average is exact, a scanner's is not."""
    store: Store = {}
    thin = frames_in(data / "multimodality-sts005" / "CT", store)
    thin.sort(key=lambda one: one.traits.height_mm)
    for sigma in (0.0, 2.5):
        thick = [
            _thick(thin[k - 2 : k + 3], number, sigma, store) for number, k in enumerate(range(2, len(thin) - 2, 4))
        ]
        name = "CT, thick from 5 thin" if not sigma else "CT, thick from 5 thin, 2.5 HU not explained"
        yield Workload(name, thin, thick, store, made_here=True)


def _windowed(frame: KnownFrame, number: int, store: Store) -> KnownFrame:
    pixel = _pixel(frame)
    values = _samples(frame, store).astype(float) - 1024 * (1 - pixel.pixel_representation)
    grey = np.clip((values + 10) / 100 * 255, 0, 255).astype("u1")
    eight = replace(pixel, bits_allocated=8, bits_stored=8, high_bit=7, pixel_representation=0)
    return _made(frame, store, encode_native(grey, eight), pixel=eight, identity=_new_series(frame, number))


def _lettered(samples: Samples) -> Samples:
    random = np.random.default_rng(1)
    copy = samples.copy()
    for column in range(40, 200, 9):
        copy[20:30, column : column + 6][random.random((10, 6)) < 0.5] = samples.max()
    return copy


def _blacked(samples: Samples) -> Samples:
    copy = samples.copy()
    copy[:40] = 0
    return copy


def _with_lesion(samples: Samples) -> Samples:
    y, x = np.ogrid[: samples.shape[0], : samples.shape[1]]
    sigma = 7.0 / 2.355 / 0.488
    blob = 60 * np.exp(-((y - 300) ** 2 + (x - 256) ** 2) / (2 * sigma**2))
    changed: Samples = (samples + blob).astype(samples.dtype)
    return changed


def _with_segment(stream: bytes, segment: bytes) -> bytes:
    """Put a segment behind SOI."""
    changed = stream[:2] + segment[:2] + (len(segment) - 2).to_bytes(2, "big") + segment[4:] + stream[2:]
    return changed + b"\0" * (len(changed) % 2)


def _recompressed(stream: bytes) -> bytes:
    encoded = bytes(imagecodecs.jpeg8_encode(imagecodecs.jpeg8_decode(stream), level=85))
    return encoded + b"\0" * (len(encoded) % 2)


def _thick(thin: Sequence[KnownFrame], number: int, sigma: float, store: Store) -> KnownFrame:
    middle = thin[2]
    mixed = np.tensordot([0.1, 0.2, 0.4, 0.2, 0.1], np.stack([_samples(one, store) for one in thin]), 1)
    mixed += np.random.default_rng(number).normal(0, sigma, mixed.shape) if sigma else 0
    metadata = {**middle.metadata, "00180050": {"vr": "DS", "Value": [10]}}
    samples = np.rint(mixed).astype(_samples(middle, store).dtype)
    encoded = bytes_of(samples, middle.form)
    return _made(middle, store, encoded, identity=_new_series(middle, number), metadata=metadata)


# -- what loses --------------------------------------------------------------------------------


def neighbours(data: Path) -> Iterator[Loss]:
    """Frames next to each other in a stack or a cine."""
    for name, folder in {
        "next slice, CT head 4-7 mm": "ct-head-ge",
        "next slice, MR T1 1 mm": "mr-structural-t1",
        "next slice, CT thigh 3.3 mm": "multimodality-sts005/CT",
        "next slice, PET": "multimodality-sts005/PET",
        "next frame, NM": "cine/dcm4che/NM-MONO2-16-13x-heart",
    }.items():
        store: Store = {}
        frames = sorted(frames_in(data / folder, store), key=lambda one: (one.traits.height_mm, one.frame_index))
        pairs = [pair for pair in zip(frames[1:], frames, strict=False) if _fit(*pair)]
        yield Loss(name, pairs[:: max(1, len(pairs) // 20)], store)


def _fit(one: KnownFrame, other: KnownFrame) -> bool:
    return one.form.pixel is not None and one.form.pixel == other.form.pixel


_Make = Callable[[Path], Iterator[Workload]]
WORKLOADS: tuple[_Make, ...] = (
    resent,
    reencoded,
    cine,
    functional,
    stills,
    new_acquisitions,
    edited,
    photographs,
    thick_slices,
)
LOSSES: tuple[Callable[[Path], Iterator[Loss]], ...] = (neighbours,)
