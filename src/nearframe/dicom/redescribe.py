"""What a header has to say differently once its pixel data is in another transfer syntax.

References
----------
PS3.3 C.7.6.3.1.2 and C.7.6.3.1.3 (photometric interpretation, planar configuration);
C.7.6.1.1.5 (lossy image compression: once set it stays set, ratio and method with it).
"""

from __future__ import annotations

from typing import Final

from nearframe.dicom.element import DataSet
from nearframe.dicom.reencode import Changes
from nearframe.dicom.transcode import TranscodedFrame
from nearframe.dicom.transfersyntax import Codec, transfer_syntax

_PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
_PLANAR_CONFIGURATION: Final = 0x00280006
_LOSSY_IMAGE_COMPRESSION: Final = 0x00282110
_LOSSY_IMAGE_COMPRESSION_RATIO: Final = 0x00282112
_LOSSY_IMAGE_COMPRESSION_METHOD: Final = 0x00282114

#: Defined terms of PS3.3 C.7.6.1.1.5.1.
_METHODS: Final = {Codec.JPEG: b"ISO_10918_1", Codec.JPEG_LS: b"ISO_14495_1", Codec.JPEG_2000: b"ISO_15444_1"}


def redescribed(
    dataset: DataSet, transfer_syntax_uid: str, encoded_bytes: int, example: TranscodedFrame, count: int
) -> Changes:
    """Return the elements to write instead of, or beside, those of `dataset`.

    Parameters
    ----------
    transfer_syntax_uid, encoded_bytes
        Of the pixel data as stored.
    example
        One of the frames that are written instead.
    count
        How many these are.
    """
    changes = {_PHOTOMETRIC_INTERPRETATION: ("CS", example.pixel.photometric_interpretation.encode())}
    if example.pixel.samples_per_pixel > 1:
        changes[_PLANAR_CONFIGURATION] = ("US", example.pixel.planar_configuration.to_bytes(2, "little"))
    if not example.lossy or dataset.text(_LOSSY_IMAGE_COMPRESSION) == "01":
        return changes
    # A writer that relied on the transfer syntax to tell: decoded, nothing else would.
    changes[_LOSSY_IMAGE_COMPRESSION] = ("CS", b"01")
    method = _METHODS.get(transfer_syntax(transfer_syntax_uid).codec)
    if method is not None and encoded_bytes:
        ratio = len(example.encoded) * count / encoded_bytes
        changes[_LOSSY_IMAGE_COMPRESSION_RATIO] = ("DS", f"{ratio:.6g}".encode())
        changes[_LOSSY_IMAGE_COMPRESSION_METHOD] = ("CS", method)
    return changes
