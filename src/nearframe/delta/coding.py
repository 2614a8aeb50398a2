"""Samples to bytes and back without loss, by the codec that costs least on this line."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TypeAlias

import zstandard

from nearframe.delta.jxlsamples import decode_jpeg_xl, encode_jpeg_xl
from nearframe.delta.rates import Rates
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import check_limits, decode_frame
from nearframe.dicom.encoders import encode_htj2k, encode_jpeg_ls
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, decode_native, encode_native
from nearframe.errors import MalformedRequest
from nearframe.units import KIB

#: zstd is for patches that are tiny, or nearly empty: an image codec's headers alone are 50 to 300 bytes.
_TINY_BYTES = 4096
_EMPTY_SHARE = 1 / 16
_ZSTD_LEVEL = 9
#: Where JPEG XL is the shorter of the two for a slice; shorter pieces, and what is nearly empty, are tried with both.
_SMALL_BYTES = 64 * KIB
#: Below this many bits a native byte, the frame is nearly empty and JPEG-LS' run mode may halve it.
_NEARLY_EMPTY = 1 / 8

_Encode: TypeAlias = Callable[[Samples, PixelDescription], bytes]


class Coding(IntEnum):
    """How samples are written. The numbers travel: never renumber."""

    ZSTD = 0
    HTJ2K = 1
    JPEG_LS = 2
    JPEG_XL = 3


#: What may be shorter than HTJ2K, the shortest first, with the most that it was seen to save of CT and MR.
_SLOWER: tuple[tuple[Coding, _Encode, float], ...] = (
    (Coding.JPEG_XL, encode_jpeg_xl, 0.2),
    (Coding.JPEG_LS, encode_jpeg_ls, 0.12),
)


def described(rows: int, columns: int, samples_per_pixel: int, bits: int, photometric: str) -> PixelDescription:
    """Describe unsigned samples of 8 or 16 bits; `photometric` says whether a colour transform helps."""
    return PixelDescription(rows, columns, samples_per_pixel, bits, bits, bits - 1, 0, photometric)


def encode_samples(
    samples: Samples, pixel: PixelDescription, rates: Rates, *, progressive: bool = False
) -> tuple[Coding, bytes]:
    """Return the coding that arrives first, and its bytes.

    Parameters
    ----------
    progressive
        True if a prefix should be an exact lower resolution: HTJ2K, whatever the size.
    """
    htj2k = _try(encode_htj2k, samples, pixel)
    if htj2k is None:
        return Coding.ZSTD, _pack(samples, pixel)
    best = (Coding.HTJ2K, htj2k)
    if progressive:
        return best
    is_nearly_empty = len(htj2k) < samples.nbytes * _NEARLY_EMPTY
    for coding, encode, saves in _SLOWER:
        if best[0] is Coding.JPEG_XL and not is_nearly_empty and samples.nbytes > _SMALL_BYTES:
            break
        if not _may_win(coding, 0.5 if is_nearly_empty else saves, len(htj2k), samples.nbytes, rates):
            continue
        data = _try(encode, samples, pixel)
        if data is not None:
            best = min(best, (coding, data), key=lambda one: _seconds(one, samples, rates))
    if samples.nbytes <= _TINY_BYTES or len(best[1]) <= _EMPTY_SHARE * samples.nbytes:
        best = min(best, (Coding.ZSTD, _pack(samples, pixel)), key=lambda one: len(one[1]))
    return best


def _try(encode: _Encode, samples: Samples, pixel: PixelDescription) -> bytes | None:
    """Return what a codec gives; None where it does not take a picture of this shape."""
    try:
        return encode(samples, pixel)
    except (RuntimeError, ValueError):
        return None


def _pack(samples: Samples, pixel: PixelDescription) -> bytes:
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(encode_native(samples, pixel))


def decode_samples(coding: int, data: bytes, pixel: PixelDescription) -> Samples:
    """Return the samples that `encode_samples` was given.

    Raises
    ------
    MalformedRequest, MalformedDICOM, LimitExceeded
        If `data` does not hold just these, found out before memory is spent on them.
    """
    check_limits(pixel)
    match coding:
        case Coding.ZSTD:
            return decode_native(inflate(data, pixel.native_frame_bits // 8), pixel, big_endian=False)
        case Coding.HTJ2K:
            return decode_frame(data, ts.HTJ2KLosslessRPCL, pixel)
        case Coding.JPEG_LS:
            return decode_frame(data, ts.JPEGLSLossless, pixel)
        case Coding.JPEG_XL:
            return decode_jpeg_xl(data, pixel)
        case _:
            raise MalformedRequest(f"samples in coding {coding}, which this release does not know")


def decode_seconds(coding: Coding, native_bytes: float, rates: Rates) -> float:
    """Return how long the receiver takes to decode so many bytes of samples."""
    speed = {
        Coding.ZSTD: rates.arithmetic,
        Coding.HTJ2K: rates.htj2k,
        Coding.JPEG_LS: rates.jpeg_ls,
        Coding.JPEG_XL: rates.jpeg_xl_samples,
    }
    return native_bytes / speed[coding]


def inflate(data: bytes, expected: int) -> bytes:
    """Return what a zstd frame holds, which must be `expected` bytes.

    Raises
    ------
    MalformedRequest
        If it is anything else.
    """
    try:
        if zstandard.frame_content_size(data) != expected:
            raise MalformedRequest("compressed bytes of a recipe have another size than they should")
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise MalformedRequest("compressed bytes of a recipe cannot be read") from error


def _may_win(coding: Coding, saves: float, htj2k_bytes: int, native_bytes: int, rates: Rates) -> bool:
    """Return whether a coding could arrive before a HTJ2K stream of that size: it takes longer to decode."""
    expected = rates.seconds((1 - saves) * htj2k_bytes, decode_seconds(coding, native_bytes, rates))
    return expected < rates.seconds(htj2k_bytes, decode_seconds(Coding.HTJ2K, native_bytes, rates))


def _seconds(coded: tuple[Coding, bytes], samples: Samples, rates: Rates) -> float:
    coding, data = coded
    return rates.seconds(len(data), decode_seconds(coding, samples.nbytes, rates))
