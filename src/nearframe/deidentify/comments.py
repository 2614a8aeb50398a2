"""What writers leave beside the samples in a compressed frame: comments, camera data, thumbnails.

They are blanked where they stand, so that no length changes. Left are the segments that decoding
needs: JFIF and Adobe say which colour it is, SPIFF and the JPEG-LS extensions likewise, ICC what it means.

References
----------
ITU-T T.81 B.2.4 (JPEG, JPEG-LS), ITU-T T.800 A.9.2 (JPEG 2000).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import Final

from nearframe.dicom.jpegheader import segments
from nearframe.errors import MalformedDICOM

_JPEG: Final = b"\xff\xd8\xff"
_JPEG_2000: Final = b"\xff\x4f\xff\x51"
_COMMENT: Final = 0xFE
_APPLICATION: Final = range(0xE0, 0xF0)
_NEEDED: Final = (b"JFIF\0", b"SPIFF\0", b"ICC_PROFILE\0", b"Adobe", b"mrfx")
_JFIF_BYTES: Final = 14  # a thumbnail may follow (JFIF 1.02)
_J2K_COMMENT, _J2K_TILE_PART = b"\xff\x64", b"\xff\x90"
_J2K_REGISTRATION_BYTES: Final = 2  # Rcm: whether what follows is text
_MAX_BOX_BYTES: Final = 1 << 20  # JP2 boxes, which PS3.5 8.2.4 forbids, may stand before the stream


def without_comments(frame: bytes) -> bytes:
    """Return a frame that decodes alike; one of another codec, or that cannot be read, as it is."""
    if frame.startswith(_JPEG):
        ranges = _jpeg_comments(frame)
    elif (start := frame.find(_JPEG_2000, 0, _MAX_BOX_BYTES)) >= 0:
        # Nothing in the boxes is needed: DICOM says the colour itself.
        ranges = chain([(0, start)], _jpeg_2000_comments(frame, start + 2))
    else:
        return frame
    out = bytearray(frame)
    with suppress(MalformedDICOM):
        for begin, end in ranges:
            out[begin:end] = bytes(end - begin)
    return bytes(out)


def _jpeg_comments(frame: bytes) -> Iterator[tuple[int, int]]:
    for marker, segment, stop in segments(frame):
        start = stop - len(segment)
        if segment.startswith(b"JFIF\0"):
            yield min(start + _JFIF_BYTES, stop), stop
        elif marker == _COMMENT or (marker in _APPLICATION and not segment.startswith(_NEEDED)):
            yield start, stop


def _jpeg_2000_comments(frame: bytes, at: int) -> Iterator[tuple[int, int]]:
    while at + 4 <= len(frame) and frame[at : at + 2] != _J2K_TILE_PART:
        stop = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if frame[at : at + 2] == _J2K_COMMENT and stop <= len(frame):
            yield at + 4 + _J2K_REGISTRATION_BYTES, stop
        at = max(stop, at + 4)
