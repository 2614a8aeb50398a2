"""Every transfer syntax we can name, and what it means for pixel data (PS3.5, PS3.6 Annex A).

The table is the only place where a transfer syntax UID is written out. Media types are
those of PS3.18 Tables 8.7.3-4 and 8.7.3-5; the first syntax listed for a media type is
the one meant when a request names none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

OCTET_STREAM = "application/octet-stream"


class Codec(Enum):
    """What decodes a frame."""

    NATIVE = "native"
    RLE = "rle"
    DEFLATE = "deflate"
    JPEG = "jpeg"
    JPEG_LS = "jpeg-ls"
    #: Part 1 and its high-throughput block coder (Part 15): one container, told apart by the stream.
    JPEG_2000 = "jpeg-2000"
    #: We keep and deliver these; nothing here decodes them.
    VIDEO = "video"
    OTHER = "other"


class Loss(Enum):
    """Whether decoded samples are those that were encoded, as far as the UID tells."""

    LOSSLESS = "lossless"
    #: The UID allows both; `codecs.is_reversible` reads the stream.
    EITHER = "either"
    LOSSY = "lossy"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One transfer syntax.

    Attributes
    ----------
    media_type
        Of its frames in a PS3.18 response.
    big_endian_pixels
        True if native samples of 16 bits and more come most significant byte first.
    """

    uid: str
    keyword: str
    codec: Codec
    loss: Loss
    media_type: str = OCTET_STREAM
    encapsulated: bool = True
    implicit_vr: bool = False
    big_endian: bool = False
    big_endian_pixels: bool = False
    deflated: bool = False

    @property
    def is_video(self) -> bool:
        """True if the whole pixel data is one stream (PS3.5 section 8.2.5 ff.): its frames cannot be cut out."""
        return self.codec is Codec.VIDEO

    @property
    def is_decodable(self) -> bool:
        """True if frames can be decoded here."""
        return self.codec not in (Codec.VIDEO, Codec.OTHER)


ImplicitVRLittleEndian = "1.2.840.10008.1.2"
ExplicitVRLittleEndian = "1.2.840.10008.1.2.1"
EncapsulatedUncompressedExplicitVRLittleEndian = "1.2.840.10008.1.2.1.98"
DeflatedExplicitVRLittleEndian = "1.2.840.10008.1.2.1.99"
ExplicitVRBigEndian = "1.2.840.10008.1.2.2"
JPEGBaseline8Bit = "1.2.840.10008.1.2.4.50"
JPEGExtended12Bit = "1.2.840.10008.1.2.4.51"
JPEGLossless = "1.2.840.10008.1.2.4.57"
JPEGLosslessSV1 = "1.2.840.10008.1.2.4.70"
JPEGLSLossless = "1.2.840.10008.1.2.4.80"
JPEGLSNearLossless = "1.2.840.10008.1.2.4.81"
JPEG2000Lossless = "1.2.840.10008.1.2.4.90"
JPEG2000 = "1.2.840.10008.1.2.4.91"
JPEG2000MCLossless = "1.2.840.10008.1.2.4.92"
JPEG2000MC = "1.2.840.10008.1.2.4.93"
JPEGXLLossless = "1.2.840.10008.1.2.4.110"
JPEGXLJPEGRecompression = "1.2.840.10008.1.2.4.111"
JPEGXL = "1.2.840.10008.1.2.4.112"
HTJ2KLossless = "1.2.840.10008.1.2.4.201"
HTJ2KLosslessRPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"
RLELossless = "1.2.840.10008.1.2.5"
DeflatedImageFrameCompression = "1.2.840.10008.1.2.8.1"
GEPrivateImplicitVRBigEndianPixels = "1.2.840.113619.5.2"


def _native(
    uid: str, keyword: str, *, implicit_vr: bool = False, big_endian: bool = False, deflated: bool = False
) -> TransferSyntax:
    return TransferSyntax(
        uid,
        keyword,
        Codec.NATIVE,
        Loss.LOSSLESS,
        encapsulated=False,
        implicit_vr=implicit_vr,
        big_endian=big_endian,
        big_endian_pixels=big_endian,
        deflated=deflated,
    )


def _video(suffix: int, keyword: str, media_type: str) -> tuple[TransferSyntax, TransferSyntax]:
    """Return a video syntax and its fragmentable twin (PS3.5 section 8.2.5 to 8.2.9)."""
    uid = f"1.2.840.10008.1.2.4.{suffix}"
    return (
        TransferSyntax(uid, keyword, Codec.VIDEO, Loss.LOSSY, media_type),
        TransferSyntax(f"{uid}.1", f"{keyword}F", Codec.VIDEO, Loss.LOSSY, media_type),
    )


def _jpip(suffix: int, keyword: str, *, deflated: bool = False) -> TransferSyntax:
    """Return a syntax whose pixel data is elsewhere, behind a URL (PS3.5 section A.6)."""
    uid = f"1.2.840.10008.1.2.4.{suffix}"
    return TransferSyntax(uid, keyword, Codec.OTHER, Loss.EITHER, encapsulated=False, deflated=deflated)


def _retired(suffix: int, keyword: str, codec: Codec = Codec.OTHER, loss: Loss = Loss.LOSSY) -> TransferSyntax:
    return TransferSyntax(f"1.2.840.10008.1.2.4.{suffix}", keyword, codec, loss, "image/jpeg")


_J2K, _JPEG, _JLS, _OTHER = Codec.JPEG_2000, Codec.JPEG, Codec.JPEG_LS, Codec.OTHER
_LOSSLESS, _EITHER, _LOSSY = Loss.LOSSLESS, Loss.EITHER, Loss.LOSSY

# Order matters within a media type: its default comes first.
_TABLE: tuple[TransferSyntax, ...] = (
    _native(ExplicitVRLittleEndian, "ExplicitVRLittleEndian"),
    _native(ImplicitVRLittleEndian, "ImplicitVRLittleEndian", implicit_vr=True),
    _native(DeflatedExplicitVRLittleEndian, "DeflatedExplicitVRLittleEndian", deflated=True),
    _native(ExplicitVRBigEndian, "ExplicitVRBigEndian", big_endian=True),
    TransferSyntax(
        # Implicit VR Little Endian but for the pixel data: old GE scanners and archives.
        GEPrivateImplicitVRBigEndianPixels,
        "GEPrivateImplicitVRBigEndianPixels",
        Codec.NATIVE,
        Loss.LOSSLESS,
        encapsulated=False,
        implicit_vr=True,
        big_endian_pixels=True,
    ),
    _native("1.2.840.10008.1.20", "Papyrus3ImplicitVRLittleEndian", implicit_vr=True),
    TransferSyntax(
        EncapsulatedUncompressedExplicitVRLittleEndian,
        "EncapsulatedUncompressedExplicitVRLittleEndian",
        Codec.NATIVE,
        _LOSSLESS,
    ),
    TransferSyntax(DeflatedImageFrameCompression, "DeflatedImageFrameCompression", Codec.DEFLATE, _LOSSLESS),
    TransferSyntax(RLELossless, "RLELossless", Codec.RLE, _LOSSLESS, "image/dicom-rle"),
    TransferSyntax(JPEGLosslessSV1, "JPEGLosslessSV1", _JPEG, _LOSSLESS, "image/jpeg"),
    TransferSyntax(JPEGBaseline8Bit, "JPEGBaseline8Bit", _JPEG, _LOSSY, "image/jpeg"),
    TransferSyntax(JPEGExtended12Bit, "JPEGExtended12Bit", _JPEG, _LOSSY, "image/jpeg"),
    TransferSyntax(JPEGLossless, "JPEGLossless", _JPEG, _LOSSLESS, "image/jpeg"),
    TransferSyntax(JPEGLSLossless, "JPEGLSLossless", _JLS, _LOSSLESS, "image/jls"),
    TransferSyntax(JPEGLSNearLossless, "JPEGLSNearLossless", _JLS, _EITHER, "image/jls"),
    TransferSyntax(JPEG2000Lossless, "JPEG2000Lossless", _J2K, _LOSSLESS, "image/jp2"),
    TransferSyntax(JPEG2000, "JPEG2000", _J2K, _EITHER, "image/jp2"),
    TransferSyntax(JPEG2000MCLossless, "JPEG2000MCLossless", _OTHER, _LOSSLESS, "image/jpx"),
    TransferSyntax(JPEG2000MC, "JPEG2000MC", _OTHER, _EITHER, "image/jpx"),
    TransferSyntax(HTJ2KLossless, "HTJ2KLossless", _J2K, _LOSSLESS, "image/jphc"),
    TransferSyntax(HTJ2KLosslessRPCL, "HTJ2KLosslessRPCL", _J2K, _LOSSLESS, "image/jphc"),
    TransferSyntax(HTJ2K, "HTJ2K", _J2K, _EITHER, "image/jphc"),
    TransferSyntax(JPEGXLLossless, "JPEGXLLossless", _OTHER, _LOSSLESS, "image/jxl"),
    TransferSyntax(JPEGXLJPEGRecompression, "JPEGXLJPEGRecompression", _OTHER, _LOSSY, "image/jxl"),
    TransferSyntax(JPEGXL, "JPEGXL", _OTHER, _EITHER, "image/jxl"),
    *_video(100, "MPEG2MPML", "video/mpeg"),
    *_video(101, "MPEG2MPHL", "video/mpeg"),
    *_video(102, "MPEG4HP41", "video/mp4"),
    *_video(103, "MPEG4HP41BD", "video/mp4"),
    *_video(104, "MPEG4HP422D", "video/mp4"),
    *_video(105, "MPEG4HP423D", "video/mp4"),
    *_video(106, "MPEG4HP42STEREO", "video/mp4"),
    *_video(107, "HEVCMP51", "video/h265"),
    *_video(108, "HEVCM10P51", "video/h265"),
    _jpip(94, "JPIPReferenced"),
    _jpip(95, "JPIPReferencedDeflate", deflated=True),
    _jpip(204, "JPIPHTJ2KReferenced"),
    _jpip(205, "JPIPHTJ2KReferencedDeflate", deflated=True),
    # Retired, but found in archives. libjpeg reads the sequential and progressive Huffman
    # processes; nothing here reads the arithmetic and hierarchical ones.
    _retired(52, "JPEGExtended35"),
    _retired(53, "JPEGSpectralSelectionNonHierarchical68", _JPEG),
    _retired(54, "JPEGSpectralSelectionNonHierarchical79"),
    _retired(55, "JPEGFullProgressionNonHierarchical1012", _JPEG),
    _retired(56, "JPEGFullProgressionNonHierarchical1113"),
    _retired(58, "JPEGLosslessNonHierarchical15", loss=_LOSSLESS),
    _retired(59, "JPEGExtendedHierarchical1618"),
    _retired(60, "JPEGExtendedHierarchical1719"),
    _retired(61, "JPEGSpectralSelectionHierarchical2022"),
    _retired(62, "JPEGSpectralSelectionHierarchical2123"),
    _retired(63, "JPEGFullProgressionHierarchical2426"),
    _retired(64, "JPEGFullProgressionHierarchical2527"),
    _retired(65, "JPEGLosslessHierarchical28", loss=_LOSSLESS),
    _retired(66, "JPEGLosslessHierarchical29", loss=_LOSSLESS),
)

#: Every transfer syntax in the table, by UID.
BY_UID: Mapping[str, TransferSyntax] = MappingProxyType({syntax.uid: syntax for syntax in _TABLE})

# Other names in use: dicomweb-client asks for video/mpeg2; image/x-dicom-rle and image/x-jls are of PS3.18-2014.
_MEDIA_TYPE_ALIASES = {
    "video/mpeg2": "video/mpeg",
    "image/x-dicom-rle": "image/dicom-rle",
    "image/x-jls": "image/jls",
}


def transfer_syntax(uid: str) -> TransferSyntax:
    """Return what we know about a transfer syntax.

    A UID that is not in the table gives an encapsulated syntax that nothing decodes: such
    an object is stored and handed back, and its frames are not looked into.
    """
    return BY_UID.get(uid) or TransferSyntax(uid, "", Codec.OTHER, Loss.EITHER)


def media_type_of(uid: str) -> str:
    """Return the media type of frames in this transfer syntax (PS3.18 section 8.7.3.3)."""
    return transfer_syntax(uid).media_type


def syntaxes_of(media_type: str) -> tuple[str, ...]:
    """Return the UIDs that a media type may carry in a frame response, its default first.

    Empty for a media type that carries no DICOM pixel data. `media_type` is compared
    without case and parameters. Native syntaxes other than Explicit VR Little Endian are
    not offered as ``application/octet-stream``: PS3.18 Table 8.7.3-2 allows that one only.
    """
    name = media_type.partition(";")[0].strip().lower()
    if name == OCTET_STREAM:
        return (ExplicitVRLittleEndian,)
    name = _MEDIA_TYPE_ALIASES.get(name, name)
    return tuple(syntax.uid for syntax in _TABLE if syntax.media_type == name)


def default_syntax_of(media_type: str) -> str | None:
    """Return the syntax a media type means when the request names none, or None."""
    return next(iter(syntaxes_of(media_type)), None)
