"""CT-like slices made from seeds, and frames hashed from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from nearframe.dicom.frames import pix_digest
from nearframe.dicom.grayscale import ModalityTransform
from nearframe.dicom.native import Samples
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.ids import Digest, Identity
from nearframe.perceptual.phash import hash_frame
from tests.frame_samples import grey

CT = RenderParameters(modality="CT", modality_transform=ModalityTransform(1, -1024))
SIZE = 256
PIXEL = grey(SIZE, SIZE)
PIXEL_SPACING_MM = 1.4


@dataclass(frozen=True)
class Row:
    """A hashed frame, as the catalogue keeps it."""

    identity: Identity
    enc: Digest
    pix: Digest | None
    hash: bytes
    quality: int = 100
    frame_index: int = 0
    version: int = 1
    modality: str = "CT"
    length: int = 1000


def ct_slice(seed: int, level: float = 0.0) -> Samples:
    """Return a slice of a body with organs; `level` moves smoothly through it."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    picture = np.where((x / 0.85) ** 2 + (y / 0.65) ** 2 < 1, 1064.0, 24.0)
    for cx, cy, rx, ry, hu in random.uniform((-0.6, -0.45, 0.06, 0.06, -120), (0.6, 0.45, 0.25, 0.25, 160), (14, 5)):
        moved = (x - cx - 0.1 * level) / (rx * (1 + level))
        picture[(moved**2 + ((y - cy) / ry) ** 2) < 1] += hu
    picture += random.normal(0, 12, picture.shape) * (picture > 100)
    return np.clip(picture, 0, 4095).astype(np.uint16)


def with_lesion(samples: Samples, row: int, column: int) -> Samples:
    """Return the slice with a Gaussian blob of 7 mm (full width at half maximum) and 60 HU."""
    y, x = np.ogrid[:SIZE, :SIZE]
    sigma = 7.0 / 2.355 / PIXEL_SPACING_MM
    blob = 60 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2))
    changed: Samples = (samples + blob).astype(np.uint16)
    return changed


def row_of(samples: Samples, series: str = "1.1", *, study: str = "1", sop: str = "", encoding: str = "") -> Row:
    """Return the row of a frame; another `encoding` is other bytes with the same samples."""
    hashed = hash_frame(samples, PIXEL, CT)
    enc = hashlib.sha256(samples.tobytes() + encoding.encode()).digest()
    identity = Identity("1.2", sop or f"{series}.{enc.hex()[:8]}", series, study)
    return Row(identity, enc, pix_digest(samples, PIXEL), hashed.bits, hashed.quality)


def copied(row: Row, series: str, *, study: str = "1", sop: str | None = None) -> Row:
    """Return the same frame as another instance's."""
    return replace(row, identity=Identity("1.2", sop or f"{series}.9", series, study))
