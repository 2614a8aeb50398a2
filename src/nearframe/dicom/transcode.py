"""The same frame in another transfer syntax, and which renditions are worth keeping.

Two rules stand above the rest. A lossy original is never encoded again: its bitstream is
kept, and it is only ever decoded, to Explicit VR Little Endian for a reader that asks
(x1.9 to x4.8 bytes otherwise, and nothing gained). And nothing encoded leaves this module
before it was decoded again and its pixel digest compared.

References
----------
PS3.18 section 8.7.3.5 (transfer syntax of a response); PS3.3 C.7.6.1.1.5 (lossy flags stay
once set); ADR 0003.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import check_limits, decode_frame, is_reversible, is_ybr_full
from nearframe.dicom.encoders import ENCODERS, encoded_photometric
from nearframe.dicom.frames import pix_digest
from nearframe.dicom.j2kheader import resolution_offsets
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, byteswapped, encode_native
from nearframe.dicom.targets import can_encode, decoded_description, is_compact, targets, wants_rendition
from nearframe.dicom.transfersyntax import Codec
from nearframe.errors import IntegrityError, NotAcceptable

#: A rendition is kept if it is at most this share of the stored bytes.
MAX_RENDITION_SHARE = 0.9
#: From `targets.MIN_PROGRESSIVE_PIXELS` on: HTJ2K is 4-11 % larger than JPEG-LS, and shows at 8 % of the bytes.
MAX_PROGRESSIVE_SHARE = 1.2


@dataclass(frozen=True, slots=True)
class TranscodedFrame:
    """A frame in another transfer syntax.

    Attributes
    ----------
    pixel
        The description that fits these bytes: colour model and planar configuration corrected.
    lossy
        True if the samples are not those acquired; Lossy Image Compression stays "01".
    resolution_offsets
        For HTJ2K: byte offsets at which each resolution is complete, smallest first.
    """

    encoded: bytes
    transfer_syntax_uid: str
    pixel: PixelDescription
    lossy: bool
    resolution_offsets: tuple[int, ...] = ()


def transcode(encoded: bytes, transfer_syntax_uid: str, pixel: PixelDescription, target_uid: str) -> TranscodedFrame:
    """Return the frame in the transfer syntax `target_uid`; as it is if that is its own.

    Raises
    ------
    NotAcceptable
        If it cannot be had so: a lossy original, a codec or a kind of pixel we do not write.
    MalformedDICOM, LimitExceeded
        As `codecs.decode_frame`.
    """
    if target_uid == transfer_syntax_uid:
        lossy = pixel.lossy or not is_reversible(encoded, transfer_syntax_uid, pixel)
        return TranscodedFrame(encoded, target_uid, pixel, lossy)
    if target_uid == ts.ExplicitVRLittleEndian:
        return to_explicit_le(encoded, transfer_syntax_uid, pixel)
    if not can_encode(target_uid, pixel):
        raise NotAcceptable(
            "frames like this are not written in that transfer syntax", targets(transfer_syntax_uid, pixel)
        )
    if not is_reversible(encoded, transfer_syntax_uid, pixel):
        raise NotAcceptable("a lossy original is not encoded again", (transfer_syntax_uid, ts.ExplicitVRLittleEndian))
    samples = decode_frame(encoded, transfer_syntax_uid, pixel)
    return _encode(samples, decoded_description(transfer_syntax_uid, pixel), target_uid)


def to_explicit_le(encoded: bytes, transfer_syntax_uid: str, pixel: PixelDescription) -> TranscodedFrame:
    """Return the frame as native little-endian bytes. The only thing ever done to a lossy original.

    Readers of single frames take their description from the metadata of the object as it is
    stored. So what that says is kept where native pixels can have it: Planar Configuration,
    YBR_FULL; and subsampling if the frame is native already. Not kept are the colour models that
    only a codec has, YBR_RCT and YBR_ICT, and YBR_FULL_422 of JPEG: their samples become RGB.

    Raises
    ------
    NotAcceptable
        If nothing decodes it.
    MalformedDICOM, LimitExceeded
        As `codecs.decode_frame`.
    """
    syntax = ts.transfer_syntax(transfer_syntax_uid)
    lossy = pixel.lossy or not is_reversible(encoded, transfer_syntax_uid, pixel)
    if syntax.codec is Codec.NATIVE:
        check_limits(pixel)
        native = byteswapped(encoded, pixel) if syntax.big_endian_pixels else encoded
        return TranscodedFrame(_without_padding(native, pixel), ts.ExplicitVRLittleEndian, pixel, lossy)
    keeps_ycbcr = is_ybr_full(encoded, transfer_syntax_uid, pixel)
    samples = decode_frame(encoded, transfer_syntax_uid, pixel, to_rgb=not keeps_ycbcr)
    decoded = replace(
        pixel if keeps_ycbcr else decoded_description(transfer_syntax_uid, pixel),
        planar_configuration=pixel.planar_configuration,
        lossy=lossy,
        vr="OW",
    )
    return TranscodedFrame(encode_native(samples, decoded), ts.ExplicitVRLittleEndian, decoded, lossy)


def _without_padding(native: bytes, pixel: PixelDescription) -> bytes:
    """Drop the byte that makes a fragment, or a value of big-endian words, even in length."""
    length = (pixel.native_frame_bits + 7) // 8
    return native[:length] if len(native) == length + 1 else native


def to_htj2k(samples: Samples, pixel: PixelDescription) -> TranscodedFrame:
    """Return decoded samples as HTJ2K with RPCL options, proved equal by decoding them again.

    For samples of reversible originals only: `best_rendition` and `transcode` see to that.

    Raises
    ------
    NotAcceptable
        If `pixel` is not 8 or 16 bit integers of one or three samples.
    IntegrityError
        If the encoder gave something else.
    """
    return _encode(samples, pixel, ts.HTJ2KLosslessRPCL)


def best_rendition(encoded: bytes, transfer_syntax_uid: str, pixel: PixelDescription) -> TranscodedFrame | None:
    """Return the HTJ2K rendition to keep beside a frame, or None if the frame itself serves as well.

    Raises
    ------
    MalformedDICOM, LimitExceeded
        As `codecs.decode_frame`.
    IntegrityError
        If the encoder gave something else.
    """
    if not wants_rendition(transfer_syntax_uid, pixel) or not is_reversible(encoded, transfer_syntax_uid, pixel):
        return None
    samples = decode_frame(encoded, transfer_syntax_uid, pixel)
    rendition = to_htj2k(samples, decoded_description(transfer_syntax_uid, pixel))
    compact = is_compact(ts.transfer_syntax(transfer_syntax_uid))
    allowed = MAX_PROGRESSIVE_SHARE if compact else MAX_RENDITION_SHARE
    return rendition if len(rendition.encoded) <= allowed * len(encoded) else None


def _encode(samples: Samples, pixel: PixelDescription, target_uid: str) -> TranscodedFrame:
    if not can_encode(target_uid, pixel):
        raise NotAcceptable("frames like this are not written in that transfer syntax")
    written = replace(
        pixel, photometric_interpretation=encoded_photometric(target_uid, pixel), planar_configuration=0, vr="OB"
    )
    try:
        encoded = ENCODERS[target_uid](samples, pixel)
    except (RuntimeError, ValueError) as error:  # of a size or kind the codec has no room for
        raise NotAcceptable("this frame cannot be written in that transfer syntax") from error
    if pix_digest(decode_frame(encoded, target_uid, written), written) != pix_digest(samples, pixel):
        raise IntegrityError("encoded frame does not decode to the samples it was made of")
    is_htj2k = ts.media_type_of(target_uid) == ts.media_type_of(ts.HTJ2KLosslessRPCL)
    return TranscodedFrame(encoded, target_uid, written, pixel.lossy, resolution_offsets(encoded) if is_htj2k else ())
