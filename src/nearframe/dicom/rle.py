"""RLE Lossless (PS3.5 Annex G): byte planes in PackBits runs behind a 64-byte header."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np

from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, frame_shape, sample_dtype
from nearframe.errors import MalformedDICOM

_HEADER = struct.Struct("<16I")
MAX_SEGMENTS = 15  # PS3.5 G.4
# Padding after a plane decodes to a few bytes more; whatever gives more than this is not padding.
_PADDING_ALLOWANCE = 256


def decode_rle(encoded: bytes, pixel: PixelDescription) -> Samples:
    """Return the samples of an RLE frame.

    Raises
    ------
    MalformedDICOM
        If the segments do not fit the header or the frame.
    """
    dtype = sample_dtype(pixel)
    width = dtype.itemsize
    plane_bytes = pixel.rows * pixel.columns
    bounds = _segments(encoded, pixel.samples_per_pixel * width)
    # Planes come most significant byte first, sample by sample (PS3.5 G.2).
    out = np.empty((plane_bytes, pixel.samples_per_pixel, width), np.uint8)
    for index, (start, stop) in enumerate(bounds):
        sample, significance = divmod(index, width)
        out[:, sample, width - 1 - significance] = _unpack(encoded[start:stop], plane_bytes)
    return out.view(dtype).reshape(frame_shape(pixel))


def encode_rle(pixels: Samples, pixel: PixelDescription) -> bytes:
    """Return samples as an RLE frame, each row packed on its own (PS3.5 G.3.1)."""
    dtype = sample_dtype(pixel)
    planes = np.ascontiguousarray(pixels, dtype=dtype).view(np.uint8)
    planes = planes.reshape(pixel.rows, pixel.columns, pixel.samples_per_pixel, dtype.itemsize)
    segments = [
        _pack(planes[:, :, sample, byte])
        for sample in range(pixel.samples_per_pixel)
        for byte in reversed(range(dtype.itemsize))
    ]
    if len(segments) > MAX_SEGMENTS:
        raise MalformedDICOM(f"{len(segments)} byte planes do not fit an RLE header")
    offsets, at = [0] * MAX_SEGMENTS, _HEADER.size
    for index, segment in enumerate(segments):
        offsets[index] = at
        at += len(segment)
    return _HEADER.pack(len(segments), *offsets) + b"".join(segments)


def _segments(encoded: bytes, expected: int) -> list[tuple[int, int]]:
    if len(encoded) < _HEADER.size:
        raise MalformedDICOM("RLE header is cut short")
    count, *offsets = _HEADER.unpack_from(encoded)
    if count != expected or count > MAX_SEGMENTS:
        raise MalformedDICOM(f"RLE header has {count} segments, {expected} expected")
    starts = offsets[:count]
    stops = [*starts[1:], len(encoded)]
    if starts[0] != _HEADER.size or any(start >= stop for start, stop in zip(starts, stops, strict=True)):
        raise MalformedDICOM("RLE segment offsets are out of order")
    return list(zip(starts, stops, strict=True))


def _unpack(segment: bytes, size: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    try:
        plane = imagecodecs.packbits_decode(segment, out=size + _PADDING_ALLOWANCE)
    except RuntimeError as error:
        raise MalformedDICOM("RLE segment cannot be decoded") from error
    if len(plane) < size:
        raise MalformedDICOM(f"RLE segment gives {len(plane)} bytes, {size} expected")
    return np.frombuffer(plane, np.uint8, size)


def _pack(plane: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    packed = bytes(imagecodecs.packbits_encode(plane.copy()))  # a run never crosses a row
    return packed + b"\0" * (len(packed) % 2)
