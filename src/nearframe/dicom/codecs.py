"""Decode frames: encoded bytes in, samples out, within limits checked beforehand.

imagecodecs is called directly because it releases the GIL; pydicom's decoders hold it and
would stall every other request. What the stream says of its size is compared with the
object's header before a codec may allocate anything.

Samples come as stored: not rescaled, not windowed, bits above Bits Stored kept. Colour
comes interleaved. Two colour transforms are undone because they belong to the codec and
not to the picture: RCT/ICT of JPEG 2000, and YCbCr of lossy JPEG, which no two decoders
undo alike anyway. `targets.decoded_description` says what the samples are.

References
----------
PS3.5 section 8.2 and Annex A.4; PS3.3 C.7.6.3.1.2.
"""

from __future__ import annotations

import zlib

import imagecodecs
import numpy as np

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codestream import Codestream
from nearframe.dicom.j2kheader import read_jpeg_2000
from nearframe.dicom.jpegheader import read_jpeg
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, decode_native, frame_shape, sample_dtype
from nearframe.dicom.openjph import decode_htj2k
from nearframe.dicom.rle import decode_rle
from nearframe.dicom.transfersyntax import Codec, Loss
from nearframe.errors import LimitExceeded, MalformedDICOM, NotAcceptable

#: The largest decoded frame. A 5 Mpixel mammogram has 30 MB, an 8K colour still 100 MB.
MAX_FRAME_BYTES = 512 * 1024 * 1024


def decode_frame(
    encoded: bytes, transfer_syntax_uid: str, pixel: PixelDescription, *, reduce: int = 0, to_rgb: bool = True
) -> Samples:
    """Return the samples of one frame.

    Parameters
    ----------
    encoded
        The encoded frame, fragments joined.
    pixel
        What the object's header says of its pixels.
    reduce
        Halve the resolution up to this many times if the codec can do so without decoding
        the rest (HTJ2K). Others give the full frame: look at the shape.
    to_rgb
        False to have the YCbCr of lossy JPEG as it is, not as `targets.decoded_description` says.

    Returns
    -------
    Samples
        Shape ``(rows, columns)``, or ``(rows, columns, samples)`` for colour; the type is that
        of Bits Allocated and Pixel Representation, little endian; one-bit samples are 0 or 1
        in a byte. May be a read-only view of `encoded`.

    Raises
    ------
    MalformedDICOM
        If the frame cannot be decoded, or is not what `pixel` says.
    LimitExceeded
        If the decoded frame would be larger than `MAX_FRAME_BYTES`.
    NotAcceptable
        If nothing here decodes this transfer syntax.
    """
    check_limits(pixel)
    syntax = ts.transfer_syntax(transfer_syntax_uid)
    match syntax.codec:
        case Codec.NATIVE:
            return decode_native(encoded, pixel, big_endian=syntax.big_endian_pixels)
        case Codec.RLE:
            return decode_rle(encoded, pixel)
        case Codec.DEFLATE:
            return decode_native(_inflate(encoded, pixel), pixel, big_endian=False)
        case Codec.JPEG | Codec.JPEG_LS:
            return _decode_jpeg(encoded, pixel, to_rgb)
        case Codec.JPEG_2000:
            return _decode_jpeg_2000(encoded, pixel, reduce)
        case _:
            raise NotAcceptable("frames of this transfer syntax cannot be decoded")


def is_ybr_full(encoded: bytes, transfer_syntax_uid: str, pixel: PixelDescription) -> bool:
    """Return True if header and stream agree that a frame of lossy JPEG is YCbCr, at full resolution.

    Native pixels can be described so too, hence need not become RGB.

    Raises
    ------
    MalformedDICOM
        If the frame's own header cannot be read.
    """
    syntax = ts.transfer_syntax(transfer_syntax_uid)
    if pixel.photometric_interpretation != "YBR_FULL" or (syntax.codec, syntax.loss) != (Codec.JPEG, Loss.LOSSY):
        return False
    return _is_ycbcr(read_jpeg(encoded), pixel)


def is_reversible(encoded: bytes, transfer_syntax_uid: str, pixel: PixelDescription) -> bool:
    """Return True if the frame has exact samples: every correct decoder gives the same.

    Where the transfer syntax allows both, the stream decides: JPEG-LS with NEAR = 0, JPEG
    2000 and HTJ2K with the 5/3 transform. A 5/3 stream may still have been cut to a rate,
    which it does not say; so under a UID that allows loss an object that admits lossy
    compression counts as lossy.

    Raises
    ------
    MalformedDICOM
        If the frame's own header cannot be read.
    """
    syntax = ts.transfer_syntax(transfer_syntax_uid)
    if not syntax.is_decodable or syntax.loss is Loss.LOSSY:
        return False
    if syntax.loss is Loss.EITHER and syntax.codec is Codec.JPEG_2000 and pixel.lossy:
        return False
    stream = read_codestream(encoded, syntax.codec)
    return stream is None or stream.is_lossless


def read_codestream(encoded: bytes, codec: Codec) -> Codestream | None:
    """Return what the frame's own header says, or None for a codec without one."""
    match codec:
        case Codec.JPEG | Codec.JPEG_LS:
            return read_jpeg(encoded)
        case Codec.JPEG_2000:
            return read_jpeg_2000(encoded)
        case _:
            return None


def check_limits(pixel: PixelDescription) -> None:
    """Refuse a frame that cannot be, or whose samples would not fit the memory we give one.

    Raises
    ------
    MalformedDICOM
        If it has no rows, columns or samples, or bits that do not fit each other.
    LimitExceeded
        If it is larger than `MAX_FRAME_BYTES`.
    """
    if pixel.rows < 1 or pixel.columns < 1 or pixel.samples_per_pixel not in (1, 3, 4):
        raise MalformedDICOM("Rows, Columns or Samples per Pixel make no picture")
    if not 1 <= pixel.bits_stored <= pixel.bits_allocated:
        raise MalformedDICOM(f"Bits Stored is {pixel.bits_stored}, Bits Allocated {pixel.bits_allocated}")
    size = pixel.rows * pixel.columns * pixel.samples_per_pixel * sample_dtype(pixel).itemsize
    if size > MAX_FRAME_BYTES:
        raise LimitExceeded("max_frame_bytes", MAX_FRAME_BYTES, size)


def _decode_jpeg(encoded: bytes, pixel: PixelDescription, to_rgb: bool) -> Samples:
    # Baseline under a JPEG-LS UID and the other way round occur: the stream knows best.
    stream = read_jpeg(encoded)
    _check_fits(stream, pixel)
    stored = wanted = None
    if stream.components == 3:
        stored = "YCbCr" if _is_ycbcr(stream, pixel) else "RGB"
        wanted = "RGB" if to_rgb else stored
    try:
        if stream.is_jpeg_ls:
            samples = imagecodecs.jpegls_decode(encoded)
        else:
            samples = imagecodecs.jpeg8_decode(encoded, colorspace=stored, outcolorspace=wanted)
    except (RuntimeError, ValueError) as error:
        raise MalformedDICOM("JPEG frame cannot be decoded") from error
    return _as_stored(samples, frame_shape(pixel), stream, pixel)


def _decode_jpeg_2000(encoded: bytes, pixel: PixelDescription, reduce: int) -> Samples:
    stream = read_jpeg_2000(encoded)
    _check_fits(stream, pixel)
    codestream = encoded[stream.start :]
    shape = frame_shape(pixel)
    try:
        if stream.is_high_throughput:
            skipped = min(reduce, stream.levels)
            samples = decode_htj2k(codestream, skipped_resolutions=skipped)
            shape = (-(-pixel.rows >> skipped), -(-pixel.columns >> skipped), *shape[2:])
        else:
            samples = imagecodecs.jpeg2k_decode(codestream, planar=False)
    except (RuntimeError, ValueError) as error:
        raise MalformedDICOM("JPEG 2000 frame cannot be decoded") from error
    return _as_stored(samples, shape, stream, pixel)


def _check_fits(stream: Codestream, pixel: PixelDescription) -> None:
    found = (stream.rows, stream.columns, stream.components)
    expected = (pixel.rows, pixel.columns, pixel.samples_per_pixel)
    if found != expected:
        raise MalformedDICOM(f"frame is {found[0]}x{found[1]}x{found[2]}, header says {'x'.join(map(str, expected))}")
    if stream.bits > pixel.bits_allocated:
        raise MalformedDICOM(f"frame has {stream.bits} bits a sample, Bits Allocated is {pixel.bits_allocated}")


def _as_stored(samples: Samples, shape: tuple[int, ...], stream: Codestream, pixel: PixelDescription) -> Samples:
    """Put decoded samples into the container the header names, sign extended where it calls them signed."""
    if samples.shape != shape:
        raise MalformedDICOM("decoded frame has another shape than its own header said")
    dtype = sample_dtype(pixel)
    spare = 8 * dtype.itemsize - stream.bits
    if pixel.pixel_representation and not stream.is_signed and spare > 0:
        # Two's complement of fewer bits, coded as if unsigned (PS3.5 8.2.3; and the wrong
        # SIZ that several J2K writers leave, where the object's header is right).
        samples = np.left_shift(samples.astype(dtype), spare)
        return np.right_shift(samples, spare)
    return samples.astype(dtype, copy=False)


def _is_ycbcr(stream: Codestream, pixel: PixelDescription) -> bool:
    if stream.is_ycbcr is None:
        return pixel.photometric_interpretation != "RGB"
    return stream.is_ycbcr


def _inflate(encoded: bytes, pixel: PixelDescription) -> bytes:
    """Inflate one deflated frame (PS3.5 A.4.13), no further than the frame is long."""
    expected = (pixel.native_frame_bits + 7) // 8
    try:
        native = zlib.decompressobj(-zlib.MAX_WBITS).decompress(encoded, expected)
    except zlib.error as error:
        raise MalformedDICOM("deflated frame cannot be inflated") from error
    if len(native) < expected:
        raise MalformedDICOM(f"deflated frame gives {len(native)} bytes, {expected} expected")
    return native
