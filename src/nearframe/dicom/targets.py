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


def _decoded_photometric(syntax: ts.TransferSyntax, pixel: PixelDescription) -> str:
    if pixel.samples_per_pixel == 3 and syntax.codec is Codec.JPEG and syntax.loss is Loss.LOSSY:
        return "RGB"
    return colour_model(pixel.photometric_interpretation)
