"""Stored native frames from their HTJ2K renditions: the same bytes, at a third to a half of the bytes on the line.

A rendition holds every bit of the samples (`transcode` proves it when it is made), and a
native frame is nothing but its samples. So a reader that decodes can be sent the rendition
and write the frame as it was stored. Whoever does this compares the digest: only then is
it the frame.
"""

from __future__ import annotations

from dataclasses import replace

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.encoders import encoded_photometric
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, encode_native
from nearframe.dicom.targets import SUBSAMPLED_422, can_encode
from nearframe.dicom.transfersyntax import Codec, HTJ2KLosslessRPCL


def is_rebuildable(transfer_syntax_uid: str, pixel: PixelDescription, length: int) -> bool:
    """Return True if a stored frame of `length` bytes is its samples in little endian, and nothing else."""
    syntax = ts.transfer_syntax(transfer_syntax_uid)
    is_plain = syntax.codec is Codec.NATIVE and not syntax.big_endian_pixels
    return (
        is_plain
        and can_encode(HTJ2KLosslessRPCL, pixel)
        and pixel.photometric_interpretation not in SUBSAMPLED_422
        and length * 8 == pixel.native_frame_bits
    )


def rebuilt(rendition: bytes, pixel: PixelDescription) -> bytes:
    """Return the native frame whose HTJ2K rendition this is; its digest is for the caller to compare.

    Parameters
    ----------
    pixel
        The object's own description.

    Raises
    ------
    MalformedDICOM, LimitExceeded
        As `codecs.decode_frame`.
    """
    return encode_native(decoded(rendition, pixel), pixel)


def decoded(rendition: bytes, pixel: PixelDescription, *, skipped_resolutions: int = 0) -> Samples:
    """Return the samples of a rendition, or of the beginning of one at a lower resolution.

    Parameters
    ----------
    skipped_resolutions
        How often rows and columns are halved.

    Raises
    ------
    MalformedDICOM, LimitExceeded
        As `codecs.decode_frame`.
    """
    written = replace(
        pixel,
        photometric_interpretation=encoded_photometric(HTJ2KLosslessRPCL, pixel),
        planar_configuration=0,
        vr="OB",
    )
    return decode_frame(rendition, HTJ2KLosslessRPCL, written, reduce=skipped_resolutions)
