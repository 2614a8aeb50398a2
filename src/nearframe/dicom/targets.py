"""Which transfer syntaxes a frame can be had in, and how it is described then: what UID and header tell.

No sample is looked at here, and no codec is imported: most requests are for frames as they are stored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.transfersyntax import Codec, Loss

#: What a reader may ask for instead of a UID: what is stored, and what ``application/dicom`` means
#: without a transfer syntax, as `query.retrieve_instances.InstanceService.target` decides.
AS_STORED: Final = "*"
DEFAULT: Final = "default"

#: What we can write; a syntax that allows loss gets a lossless stream all the same.
WRITTEN: Final = (
    ts.HTJ2KLosslessRPCL,
    ts.HTJ2KLossless,
    ts.HTJ2K,
    ts.JPEG2000Lossless,
    ts.JPEG2000,
    ts.JPEGLSLossless,
    ts.JPEGLSNearLossless,
    ts.JPEGLosslessSV1,
    ts.JPEGLossless,
    ts.RLELossless,
)

#: Two luminance samples share one pair of chrominance samples: Y Y Cb Cr.
SUBSAMPLED_422 = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})

#: Below this a rendition's headers and index outweigh what it saves.
MIN_RENDITION_PIXELS = 64 * 64
#: From here on a progressive rendition is worth having though the original is small enough already.
MIN_PROGRESSIVE_PIXELS = 1024 * 1024

_NO_RENDITION: Final = SUBSAMPLED_422 | {"PALETTE COLOR"}


def targets(transfer_syntax_uid: str, pixel: PixelDescription) -> tuple[str, ...]:
    """Return the transfer syntaxes frames can be had in, as far as the UID alone tells; their own first."""
    syntax = ts.transfer_syntax(transfer_syntax_uid)
    own = (transfer_syntax_uid,)
    if not syntax.is_decodable:
        return own
    others = [ts.ExplicitVRLittleEndian]
    if syntax.loss is Loss.LOSSLESS:
        others += [uid for uid in WRITTEN if can_encode(uid, pixel)]
    return own + tuple(uid for uid in others if uid != transfer_syntax_uid)


def can_encode(transfer_syntax_uid: str, pixel: PixelDescription) -> bool:
    """Return True if frames like this can be written in that transfer syntax."""
    if transfer_syntax_uid not in WRITTEN or pixel.vr in ("OF", "OD"):
        return False
    if transfer_syntax_uid == ts.RLELossless:
        return pixel.bits_allocated in (8, 16, 32) and pixel.samples_per_pixel * pixel.bits_allocated // 8 <= 15
    return pixel.bits_allocated in (8, 16) and pixel.samples_per_pixel in (1, 3)


def decoded_description(transfer_syntax_uid: str, pixel: PixelDescription) -> PixelDescription:
    """Return `pixel` as it describes what `codecs.decode_frame` gives: colour model undone, interleaved."""
    return replace(
        pixel,
        photometric_interpretation=_decoded_photometric(ts.transfer_syntax(transfer_syntax_uid), pixel),
        planar_configuration=0,
    )


def colour_model(photometric_interpretation: str) -> str:
    """Return what samples are once the codec's own transform and subsampling are undone."""
    return {"YBR_RCT": "RGB", "YBR_ICT": "RGB", "YBR_FULL_422": "YBR_FULL"}.get(
        photometric_interpretation, photometric_interpretation
    )


def wants_rendition(transfer_syntax_uid: str, pixel: PixelDescription) -> bool:
    """Return True if an HTJ2K rendition of such a frame is worth trying.

    Lossy originals, HTJ2K itself, one-bit, floating-point and 32-bit frames: never. Palette
    indices: no, neighbours in the table are not neighbours in colour. Colour by plane or
    subsampled: no, viewers arrange what they decoded as the object's metadata says, and HTJ2K
    has neither. JPEG-LS and JPEG 2000 are about as small as HTJ2K: only where a large picture
    gains by showing early.
    """
    syntax = ts.transfer_syntax(transfer_syntax_uid)
    pixels = pixel.rows * pixel.columns
    if syntax.loss is Loss.LOSSY or not syntax.is_decodable or not can_encode(ts.HTJ2KLosslessRPCL, pixel):
        return False
    if pixels < MIN_RENDITION_PIXELS or pixel.photometric_interpretation in _NO_RENDITION:
        return False
    if pixel.samples_per_pixel > 1 and pixel.planar_configuration == 1:
        return False
    if syntax.media_type == ts.media_type_of(ts.HTJ2KLosslessRPCL):
        return False
    return pixels >= MIN_PROGRESSIVE_PIXELS or not is_compact(syntax)


def is_compact(syntax: ts.TransferSyntax) -> bool:
    """Return True if frames are about as small as HTJ2K makes them."""
    return syntax.codec in (Codec.JPEG_LS, Codec.JPEG_2000)


def _decoded_photometric(syntax: ts.TransferSyntax, pixel: PixelDescription) -> str:
    if pixel.samples_per_pixel == 3 and syntax.codec is Codec.JPEG and syntax.loss is Loss.LOSSY:
        return "RGB"
    return colour_model(pixel.photometric_interpretation)
