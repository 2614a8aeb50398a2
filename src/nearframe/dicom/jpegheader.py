"""Read the header of a JPEG or JPEG-LS frame.

The dimensions are compared with the object's before a codec may allocate anything; the
loss parameters decide whether the frame has exact samples.

References
----------
ITU-T T.81 Annex B (JPEG), ITU-T T.87 Annex C (JPEG-LS).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from nearframe.dicom.codestream import Codestream
from nearframe.errors import MalformedDICOM

#: A decoder goes over the whole picture for each scan, and a scan may be 8 bytes. Encoders write up to 12.
MAX_SCANS = 100

_SOI = b"\xff\xd8"
_EOI = b"\xff\xd9"

# Markers by their second byte (T.81 Table B.1, T.87 Table C.1).
_SOF_LOSSLESS = 0xC3
_SOF_JPEG_LS = 0xF7
_SOF_DECODABLE = frozenset({0xC0, 0xC1, 0xC2, _SOF_LOSSLESS, _SOF_JPEG_LS})
_SOF_HIERARCHICAL_OR_ARITHMETIC = frozenset({0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_SOS, _APP0, _APP14 = 0xDA, 0xE0, 0xEE
_SOS_MARKER = bytes((0xFF, _SOS))
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})


def read_jpeg(frame: bytes) -> Codestream:
    """Read the header of a JPEG or JPEG-LS frame.

    Raises
    ------
    MalformedDICOM
        If it is no such stream, has no end, or uses a process that nothing decodes.
    """
    if not frame.startswith(_SOI):
        raise MalformedDICOM("frame is not a JPEG stream")
    frame_header: tuple[int, bytes] | None = None
    colour = _Colour()
    for marker, segment, stop in segments(frame):
        if marker in _SOF_HIERARCHICAL_OR_ARITHMETIC:
            raise MalformedDICOM("JPEG process is hierarchical or arithmetic: no decoder")
        if marker in _SOF_DECODABLE:
            if frame_header is not None:
                raise MalformedDICOM("JPEG stream has two frame headers")
            frame_header = marker, segment
        elif marker == _APP0 and segment.startswith(b"JFIF\0"):
            colour.has_jfif = True
        elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:
            colour.adobe_transform = segment[11]
        elif marker == _SOS and frame_header is not None:
            # Decoders fill what is missing with grey and say nothing. No scan holds these two bytes;
            # padding, and in some cines a few bytes of an old buffer, may follow them.
            if frame.rfind(_EOI, stop) < 0:
                raise MalformedDICOM("JPEG stream has no end marker: the frame is cut short")
            if frame.count(_SOS_MARKER, stop) > MAX_SCANS:
                raise MalformedDICOM("JPEG stream has more scans than we give time to")
            return _describe(*frame_header, scan=segment, colour=colour)
    raise MalformedDICOM("JPEG stream has no frame header before its scan")


@dataclass(slots=True)
class _Colour:
    """What the application markers say of colour."""

    has_jfif: bool = False
    adobe_transform: int | None = None

    def is_ycbcr(self, component_ids: bytes) -> bool | None:
        """Apply libjpeg's order: Adobe marker, JFIF marker, component letters."""
        if self.adobe_transform is not None:
            return self.adobe_transform != 0
        if self.has_jfif:
            return True
        return False if component_ids == b"RGB" else None


def segments(frame: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, segment and the offset after it, up to and with the first scan header.

    Raises
    ------
    MalformedDICOM
        If it is no chain of segments.
    """
    at = len(_SOI)
    marker = 0
    while marker != _SOS:
        start = at
        while at < len(frame) and frame[at] == 0xFF:
            at += 1  # T.81 B.1.1.2: any number of fill bytes
        if at == start or at >= len(frame):
            raise MalformedDICOM("JPEG marker expected", offset=start)
        marker = frame[at]
        at += 1
        if marker in _STANDALONE:
            continue
        length = int.from_bytes(frame[at : at + 2], "big")
        if length < 2 or at + length > len(frame):
            raise MalformedDICOM("JPEG segment is longer than the frame", offset=at)
        yield marker, frame[at + 2 : at + length], at + length
        at += length


def _describe(sof: int, header: bytes, *, scan: bytes, colour: _Colour) -> Codestream:
    if len(header) < 6 or len(header) < 6 + 3 * header[5]:
        raise MalformedDICOM("JPEG frame header is cut short")
    if not scan or len(scan) < 4 + 2 * scan[0]:
        raise MalformedDICOM("JPEG scan header is cut short")
    bits, rows, columns, components = struct.unpack_from(">BHHB", header)
    component_ids = header[6 : 6 + 3 * components : 3]
    # The three bytes after the scan's components: Ss, Se, Ah|Al (T.81 B.2.3); NEAR, ILV, Al (T.87 C.2.3).
    first, _, approximation = scan[1 + 2 * scan[0] : 4 + 2 * scan[0]]
    transforms_colour = components == 3 and sof not in (_SOF_LOSSLESS, _SOF_JPEG_LS)
    return Codestream(
        rows=rows,
        columns=columns,
        components=components,
        bits=bits,
        is_lossless=_is_lossless(sof, near=first, point_transform=approximation & 0x0F),
        is_jpeg_ls=sof == _SOF_JPEG_LS,
        is_ycbcr=colour.is_ycbcr(component_ids) if transforms_colour else False,
    )


def _is_lossless(sof: int, *, near: int, point_transform: int) -> bool:
    if sof == _SOF_JPEG_LS:
        return near == 0 and point_transform == 0
    # A point transform drops the low bits before a lossless process codes the rest (T.81 Annex A.4).
    return sof == _SOF_LOSSLESS and point_transform == 0
