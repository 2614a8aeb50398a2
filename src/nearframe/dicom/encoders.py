"""Lossless encoders: samples in, one encoded frame out.

None of them is trusted: `transcode` decodes what they give and compares digests.

References
----------
PS3.5 section 8.2 and 10.18 (HTJ2K with RPCL options), Annex A.4.
"""

from __future__ import annotations

from collections.abc import Callable

import imagecodecs
import numpy as np

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.frames import fits_bits_stored
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.dicom.rle import encode_rle
from nearframe.dicom.targets import colour_model

#: PS3.5 10.18: the lowest resolution of an RPCL stream has at most this many rows or columns.
MAX_BASE_PIXELS = 64
DEFAULT_LEVELS = 5  # 512 x 512 down to 16 x 16: the quarter picture is the second tile-part from the top but one
_TILE_PART_PER_RESOLUTION = 1  # imagecodecs.HTJ2K.TILEPART.RESOLUTIONS


def encode_htj2k(pixels: Samples, pixel: PixelDescription) -> bytes:
    """Return a reversible HTJ2K stream as transfer syntax .202 wants it.

    Progression RPCL, a TLM segment and one tile-part per resolution: any prefix that ends
    with a tile-part is an exact lower resolution. RGB goes through the reversible colour
    transform; signed samples are coded as signed.
    """
    return bytes(
        imagecodecs.htj2k_encode(
            pixels,
            reversible=True,
            rgb=_is_rgb(pixel),
            resolutions=decomposition_levels(pixel),
            tlm=True,
            tilepart=_TILE_PART_PER_RESOLUTION,
        )
    )


def decomposition_levels(pixel: PixelDescription) -> int:
    """Return how often to halve: five times, fewer if little is left, more until the base is small enough."""
    smallest, largest = sorted((pixel.rows, pixel.columns))
    levels = min(DEFAULT_LEVELS, smallest.bit_length() - 1)
    while -(-largest >> levels) > MAX_BASE_PIXELS:
        levels += 1
    return levels


def encode_jpeg_2000(pixels: Samples, pixel: PixelDescription) -> bytes:
    """Return a reversible JPEG 2000 codestream, of Bits Stored where the samples keep to it."""
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels,
            level=0,
            codecformat="j2k",
            reversible=True,
            mct=_is_rgb(pixel),
            bitspersample=_precision(pixels, pixel),
        )
    )


def encode_jpeg_ls(pixels: Samples, pixel: PixelDescription) -> bytes:
    """Return a JPEG-LS stream with NEAR = 0; signed samples as two's complement (PS3.5 8.2.3)."""
    unsigned = _as_unsigned(pixels)
    # CharLS guesses how large the result may become, and noise is larger.
    return bytes(imagecodecs.jpegls_encode(unsigned, out=2 * unsigned.nbytes + 1024))


def encode_jpeg_lossless(pixels: Samples, pixel: PixelDescription) -> bytes:
    """Return a JPEG stream of process 14, first-order prediction; signed samples as two's complement."""
    unsigned = _as_unsigned(pixels)
    bits = 8 * unsigned.itemsize
    if unsigned.itemsize > 1 and not pixel.pixel_representation:
        bits = max(_precision(pixels, pixel), 9)  # libjpeg holds fewer bits in bytes
    # Told that RGB is RGB, libjpeg leaves it alone: lossless processes transform no colour.
    space = "RGB" if pixel.samples_per_pixel == 3 else None
    return bytes(
        imagecodecs.jpeg8_encode(
            unsigned, lossless=True, predictor=1, bitspersample=bits, colorspace=space, outcolorspace=space
        )
    )


#: How each of `targets.WRITTEN` is written.
ENCODERS: dict[str, Callable[[Samples, PixelDescription], bytes]] = {
    ts.HTJ2KLosslessRPCL: encode_htj2k,
    ts.HTJ2KLossless: encode_htj2k,
    ts.HTJ2K: encode_htj2k,
    ts.JPEG2000Lossless: encode_jpeg_2000,
    ts.JPEG2000: encode_jpeg_2000,
    ts.JPEGLSLossless: encode_jpeg_ls,
    ts.JPEGLSNearLossless: encode_jpeg_ls,
    ts.JPEGLosslessSV1: encode_jpeg_lossless,
    ts.JPEGLossless: encode_jpeg_lossless,
    ts.RLELossless: encode_rle,
}


def encoded_photometric(transfer_syntax_uid: str, pixel: PixelDescription) -> str:
    """Return Photometric Interpretation of what an encoder made of decoded samples (PS3.5 8.2.4)."""
    is_j2k = ts.transfer_syntax(transfer_syntax_uid).codec is ts.Codec.JPEG_2000
    return "YBR_RCT" if is_j2k and _is_rgb(pixel) else colour_model(pixel.photometric_interpretation)


def _is_rgb(pixel: PixelDescription) -> bool:
    return pixel.samples_per_pixel == 3 and colour_model(pixel.photometric_interpretation) == "RGB"


def _precision(pixels: Samples, pixel: PixelDescription) -> int:
    return pixel.bits_stored if fits_bits_stored(pixels, pixel) else pixel.bits_allocated


def _as_unsigned(pixels: Samples) -> Samples:
    return np.ascontiguousarray(pixels).view(f"<u{pixels.itemsize}")
