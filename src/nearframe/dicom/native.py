"""Native pixel data: bytes as PS3.5 section 8.1 lays them out, to samples and back.

References
----------
PS3.5 section 8.1.1 and Annex D (bit order), PS3.3 C.7.6.3.1.2 and C.7.6.3.1.3 (photometric
interpretation, planar configuration).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nearframe.dicom.model import PixelDescription
from nearframe.dicom.targets import SUBSAMPLED_422
from nearframe.errors import MalformedDICOM

#: Samples of one frame: ``(rows, columns)`` or ``(rows, columns, samples)``.
Samples = npt.NDArray[Any]


def sample_dtype(pixel: PixelDescription) -> np.dtype[Any]:
    """Return the little-endian type of one stored sample; one-bit samples get a byte each.

    Raises
    ------
    MalformedDICOM
        If there is no such sample (PS3.3 C.7.6.3.1.1).
    """
    if (pixel.vr, pixel.bits_allocated) in (("OF", 32), ("OD", 64)):
        return np.dtype(f"<f{pixel.bits_allocated // 8}")
    kind = "i" if pixel.pixel_representation else "u"
    if pixel.bits_allocated in (8, 16, 32, 64):
        return np.dtype(f"<{kind}{pixel.bits_allocated // 8}")
    if pixel.bits_allocated == 1:
        return np.dtype("u1")
    raise MalformedDICOM(f"Bits Allocated is {pixel.bits_allocated}: not 1, 8, 16, 32 or 64")


def frame_shape(pixel: PixelDescription) -> tuple[int, ...]:
    """Return the shape of a decoded frame."""
    plane = (pixel.rows, pixel.columns)
    return plane if pixel.samples_per_pixel == 1 else (*plane, pixel.samples_per_pixel)


def decode_native(encoded: bytes, pixel: PixelDescription, *, big_endian: bool) -> Samples:
    """Return the samples of a native frame; a view of `encoded` where its layout allows.

    Raises
    ------
    MalformedDICOM
        If the frame is shorter than its header says.
    """
    if pixel.bits_allocated == 1:
        return _unpack_bits(_words_swapped(encoded) if big_endian and pixel.vr == "OW" else encoded, pixel)
    if big_endian and pixel.bits_allocated == 8 and pixel.vr == "OW":
        encoded = _words_swapped(encoded)
    dtype = sample_dtype(pixel)
    stored = dtype.newbyteorder(">") if big_endian else dtype
    pixels = pixel.rows * pixel.columns
    count = pixels * pixel.samples_per_pixel
    if pixel.photometric_interpretation in SUBSAMPLED_422 and len(encoded) < count * dtype.itemsize:
        samples = _take(encoded, stored, 2 * pixels).astype(dtype, copy=False)
        return _upsample_422(samples, pixel)
    # Some writers label full YBR data as 422: the length tells.
    samples = _take(encoded, stored, count).astype(dtype, copy=False)
    if pixel.samples_per_pixel > 1 and pixel.planar_configuration == 1:
        planes = samples.reshape(pixel.samples_per_pixel, pixel.rows, pixel.columns)
        return planes.transpose(1, 2, 0).copy()
    return samples.reshape(frame_shape(pixel))


def encode_native(pixels: Samples, pixel: PixelDescription) -> bytes:
    """Return samples as a native little-endian frame; one-bit samples packed (PS3.5 8.1.1).

    `pixel` says whether by pixel or by plane.
    """
    if pixel.bits_allocated == 1:
        return np.packbits(pixels.reshape(-1) & 1, bitorder="little").tobytes()
    if pixel.samples_per_pixel > 1 and pixel.planar_configuration == 1:
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels, dtype=sample_dtype(pixel)).tobytes()


def byteswapped(encoded: bytes, pixel: PixelDescription) -> bytes:
    """Return a big-endian native frame in little endian, its layout unchanged (PS3.5 section 7.3).

    Raises
    ------
    MalformedDICOM
        If it has a part of a sample, or of a word.
    """
    if pixel.bits_allocated <= 8:
        return _words_swapped(encoded) if pixel.vr == "OW" else encoded
    width = sample_dtype(pixel).itemsize
    if len(encoded) % width:
        raise MalformedDICOM(f"frame of {len(encoded)} bytes ends within a sample")
    return np.frombuffer(encoded, f"<u{width}").byteswap().tobytes()


def _take(encoded: bytes, dtype: np.dtype[Any], count: int) -> Samples:
    if len(encoded) < count * dtype.itemsize:
        raise MalformedDICOM(f"frame has {len(encoded)} bytes, {count * dtype.itemsize} expected")
    return np.frombuffer(encoded, dtype, count)


def _words_swapped(encoded: bytes) -> bytes:
    """Undo the byte swap of 8-bit samples kept in big-endian 16-bit words (PS3.5 Annex D)."""
    if len(encoded) % 2:
        raise MalformedDICOM("8-bit samples in big-endian words have an odd number of bytes")
    return np.frombuffer(encoded, "<u2").byteswap().tobytes()


def _unpack_bits(encoded: bytes, pixel: PixelDescription) -> Samples:
    count = pixel.rows * pixel.columns * pixel.samples_per_pixel
    packed = _take(encoded, np.dtype("u1"), (count + 7) // 8)
    return np.unpackbits(packed, count=count, bitorder="little").reshape(frame_shape(pixel))


def _upsample_422(samples: Samples, pixel: PixelDescription) -> Samples:
    """Give both pixels of a pair its chrominance: a repetition, so nothing is invented or lost."""
    if pixel.samples_per_pixel != 3 or pixel.columns % 2:
        raise MalformedDICOM("4:2:2 pixel data needs three samples a pixel and an even number of columns")
    pairs = samples.reshape(-1, 4)
    out = np.empty((len(pairs), 2, 3), samples.dtype)
    out[:, :, 0] = pairs[:, :2]
    out[:, :, 1] = pairs[:, 2:3]
    out[:, :, 2] = pairs[:, 3:4]
    return out.reshape(frame_shape(pixel))
