"""Frames in memory, as both sides of a line hold them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nearframe.delta.frame import Frame, FrameForm
from nearframe.delta.rates import Rates
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, encode_native
from nearframe.errors import NotFound
from nearframe.ids import Digest, sha256
from tests.frame_samples import colour, grey

#: A line on which every byte counts.
SLOW = Rates.of_megabits(2)


class Store:
    """Frames by digest; forgets and damages on request."""

    def __init__(self) -> None:
        self.frames: dict[Digest, bytes] = {}
        self.forms: dict[Digest, FrameForm] = {}

    def put(self, encoded: bytes, pixel: PixelDescription | None, syntax: str = ts.ExplicitVRLittleEndian) -> FrameForm:
        form = FrameForm(sha256(encoded), len(encoded), syntax, pixel)
        self.frames[form.enc], self.forms[form.enc] = encoded, form
        return form

    def native(self, samples: Samples, pixel: PixelDescription | None = None) -> FrameForm:
        pixel = pixel or describe(samples)
        return self.put(encode_native(samples, pixel), pixel)

    def read(self, enc: Digest) -> bytes:
        if enc not in self.frames:
            raise NotFound("frame")
        return self.frames[enc]

    def frame(self, form: FrameForm) -> Frame:
        return Frame(form, self.read)

    def framed(self, forms: Iterable[FrameForm]) -> list[Frame]:
        return [self.frame(form) for form in forms]


def describe(samples: Samples, **more: Any) -> PixelDescription:
    """Describe samples by their type and shape."""
    if samples.ndim == 3:
        return colour(*samples.shape[:2], **more)
    bits = 8 * samples.itemsize
    signed = samples.dtype.kind == "i"
    return grey(*samples.shape, bits_allocated=bits, bits_stored=bits, signed=signed, **more)


def picture(seed: int = 1, rows: int = 96, columns: int = 120, noise: float = 12) -> Samples:
    """Return a smooth 16-bit picture with noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    smooth = 1000 + 600 * np.cos(3 * x + 0.2 * seed) * np.sin(4 * y) + 300 * (x**2 + y**2 < 0.5)
    samples: Samples = np.clip(smooth + random.normal(0, noise, smooth.shape), 0, 4095).astype("<u2")
    return samples


def rgb(seed: int = 1, rows: int = 96, columns: int = 120) -> Samples:
    """Return a colour picture."""
    return np.stack([picture(seed + k, rows, columns) >> 4 for k in range(3)], axis=-1).astype("u1")
