"""What makes two frames the same picture: `pix`, the digest of canonical samples.

`enc` (SHA-256 of the encoded bytes) says that nothing changed on the way. `pix` says more
and less: the same samples, whatever the transfer syntax. It decides that a re-sent frame
is known already; nothing but a digest ever does.

The canonical form, all little endian::

    magic                       8 bytes  "nf-pix-1"
    rows, columns               2 x u32
    samples per pixel           u8
    bits allocated              u8
    bits stored, high bit       2 x u8   see below
    pixel representation        u8       2 for floating point
    planar configuration        u8       always 0
    colour model                16 bytes ASCII, padded with zeros
    SHA-256 of the samples      32 bytes; as stored, interleaved; one-bit samples packed, first pixel lowest

The samples go in by their own digest, because that of a native frame is known already: it
is `enc`, and taking in an image hashes its pixels once less.

The colour model is that of the decoded samples, not of the encoding: RGB for YBR_RCT (a
reversible transform inside JPEG 2000), YBR_FULL for YBR_FULL_422 (stored chrominance
repeated, which loses nothing). So a native RGB frame and its HTJ2K rendition agree.

Bits Stored and High Bit count only where they change what a sample means. If the sample
is right-aligned and every bit above Bits Stored is its plain extension, the value read is
the same under any larger depth, and the digest is taken at full depth: archives that
widen Bits Stored from 12 to 16 while re-compressing keep the pixels. Where something
lives above Bits Stored (an old overlay), the depth is part of the digest.

References
----------
PS3.3 C.7.6.3.1, PS3.5 section 8.1.1, ADR 0003.
"""

from __future__ import annotations

import struct

import numpy as np

from nearframe.dicom.codecs import decode_frame, is_reversible
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, encode_native, sample_dtype
from nearframe.dicom.targets import colour_model
from nearframe.ids import Digest, sha256

_HEADER = struct.Struct("<8sII6B16s")
_MAGIC = b"nf-pix-1"
_FLOATING_POINT = 2


def pix_digest(samples: Samples, pixel: PixelDescription, sample_digest: Digest | None = None) -> Digest:
    """Return the digest of decoded samples.

    Parameters
    ----------
    samples
        As `codecs.decode_frame` returns them, at full resolution. Not copied if contiguous.
    pixel
        The object's own description, or the decoded one: both give the same digest.
    sample_digest
        SHA-256 of the samples in their canonical layout, if it is known.
    """
    return sha256(_canonical_header(samples, pixel) + (sample_digest or _sample_digest(samples, pixel)))


def pix_of_frame(
    encoded: bytes, transfer_syntax_uid: str, pixel: PixelDescription, enc: Digest | None = None
) -> Digest | None:
    """Return `pix` of an encoded frame, or None if it is lossy: then two decoders disagree on its samples.

    Native little-endian frames are hashed where they lie, or not at all if `enc`, the SHA-256
    of `encoded`, is known.

    Raises
    ------
    MalformedDICOM, LimitExceeded
        As `codecs.decode_frame`.
    """
    if not is_reversible(encoded, transfer_syntax_uid, pixel):
        return None
    samples = decode_frame(encoded, transfer_syntax_uid, pixel)
    return pix_digest(samples, pixel, enc if _is_view_of(samples, encoded) else None)


def _is_view_of(samples: Samples, encoded: bytes) -> bool:
    """Return True if the canonical layout of `samples` is `encoded` itself: nothing was copied, nothing left out."""
    if samples.nbytes != len(encoded) or not samples.flags.c_contiguous:
        return False
    return np.may_share_memory(samples, np.frombuffer(encoded, np.uint8))


def _sample_digest(samples: Samples, pixel: PixelDescription) -> Digest:
    if pixel.bits_allocated == 1:
        return sha256(encode_native(samples, pixel))
    stored = np.ascontiguousarray(samples, dtype=sample_dtype(pixel))
    return sha256(stored.reshape(-1).view(np.uint8).data)


def _canonical_header(samples: Samples, pixel: PixelDescription) -> bytes:
    bits_stored, high_bit = _meaningful_depth(samples, pixel)
    return _HEADER.pack(
        _MAGIC,
        pixel.rows,
        pixel.columns,
        pixel.samples_per_pixel,
        pixel.bits_allocated,
        bits_stored,
        high_bit,
        _FLOATING_POINT if samples.dtype.kind == "f" else bool(pixel.pixel_representation),
        0,
        colour_model(pixel.photometric_interpretation).encode("ascii", "replace")[:16],
    )


def fits_bits_stored(samples: Samples, pixel: PixelDescription) -> bool:
    """Return True if every sample is right-aligned and its own value read from Bits Stored bits alone."""
    bits = pixel.bits_stored
    if not 1 <= bits <= pixel.bits_allocated or pixel.high_bit != bits - 1:
        return False
    if bits == pixel.bits_allocated:
        return True
    if samples.dtype.kind == "u":
        return int(samples.max()) < 1 << bits
    return -(1 << bits - 1) <= int(samples.min()) and int(samples.max()) < 1 << bits - 1


def _meaningful_depth(samples: Samples, pixel: PixelDescription) -> tuple[int, int]:
    if samples.dtype.kind == "f" or fits_bits_stored(samples, pixel):
        return pixel.bits_allocated, pixel.bits_allocated - 1
    return pixel.bits_stored & 0xFF, pixel.high_bit & 0xFF
