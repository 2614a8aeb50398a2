"""Read the main header and the tile-part index of a JPEG 2000 or HTJ2K frame.

References
----------
ITU-T T.800 Annex A (JPEG 2000), ITU-T T.814 Annex A (HTJ2K).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from nearframe.dicom.codestream import Codestream
from nearframe.errors import MalformedDICOM

# Markers (T.800 Table A.2).
_SOC, _CAP, _SIZ, _COD, _COC, _SOT, _EOC = 0xFF4F, 0xFF50, 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFFD9
_SOC_SIZ = struct.pack(">HH", _SOC, _SIZ)
_SOT_BYTES = 12
_SIZ_FIXED = struct.Struct(">H8IH")
_REVERSIBLE_5_3 = 1  # T.800 Table A.20
_PCAP_PART_15 = 1 << (32 - 15)  # T.814 A.2

MAX_TILES = 65_535  # T.800 Table A.9: the tile index has 16 bits
# PS3.5 8.2.4 forbids JP2 boxes, some writers put them in; with an ICC profile they reach a few hundred KB.
_MAX_BOX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TilePart:
    """Where a tile-part lies: from its SOT marker to the byte after its last."""

    tile: int
    start: int
    stop: int


def read_jpeg_2000(frame: bytes) -> Codestream:
    """Read the main header of a frame, and check that every tile-part it announces is there.

    Raises
    ------
    MalformedDICOM
        If it is no such stream, or is cut short.
    """
    start, segments, body = _main_header(frame)
    for _ in tile_parts(frame, body):
        pass
    rows, columns, components, bits, is_signed = _dimensions(_only(segments, _SIZ))
    cod = _only(segments, _COD)
    # A COC overrides the style for one component: Ccoc (1 byte), Scoc, then as in COD (T.800 A.6.2).
    styles = [cod[5:], *(coc[2:] for coc in segments.get(_COC, []))]
    if any(len(style) < 5 for style in styles):
        raise MalformedDICOM("JPEG 2000 coding style is cut short")
    capabilities = segments.get(_CAP, [b""])[0][:4]
    return Codestream(
        rows=rows,
        columns=columns,
        components=components,
        bits=bits,
        is_signed=is_signed,
        is_lossless=all(style[4] == _REVERSIBLE_5_3 for style in styles),
        start=start,
        is_high_throughput=bool(int.from_bytes(capabilities, "big") & _PCAP_PART_15),
        levels=min(style[0] for style in styles),
    )


def resolution_offsets(frame: bytes) -> tuple[int, ...]:
    """Return where each resolution is complete, smallest first, the last being the whole tile data.

    Meaningful for a stream of one tile with one tile-part per resolution, as `transcode`
    writes them: any prefix up to an offset decodes to exactly that resolution.
    """
    _, _, body = _main_header(frame)
    return tuple(part.stop for part in tile_parts(frame, body))


def tile_parts(frame: bytes, at: int) -> Iterator[TilePart]:
    """Yield the tile-parts from offset `at` to the end marker.

    Raises
    ------
    MalformedDICOM
        If one reaches beyond the frame, or the end marker is missing.
    """
    while True:
        marker = int.from_bytes(frame[at : at + 2], "big")
        if marker == _EOC:
            return
        if marker != _SOT or at + _SOT_BYTES > len(frame):
            raise MalformedDICOM("JPEG 2000 stream has no end marker: the frame is cut short", offset=at)
        tile, length = struct.unpack_from(">HI", frame, at + 4)
        # Psot = 0: the last tile-part, up to the end marker (T.800 A.4.2).
        stop = at + length if length else frame.rfind(b"\xff\xd9")
        if stop < at + _SOT_BYTES or stop > len(frame):
            raise MalformedDICOM("JPEG 2000 tile-part is longer than the frame", offset=at)
        yield TilePart(tile, at, stop)
        at = stop


def _main_header(frame: bytes) -> tuple[int, dict[int, list[bytes]], int]:
    """Return where the codestream starts, its segments by marker, and the offset of the first tile-part."""
    start = frame.find(_SOC_SIZ, 0, _MAX_BOX_BYTES)
    if start < 0:
        raise MalformedDICOM("frame is not a JPEG 2000 codestream")
    segments: dict[int, list[bytes]] = {}
    at = start + 2
    while True:
        marker, length = int.from_bytes(frame[at : at + 2], "big"), int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == _SOT:
            return start, segments, at
        if marker < 0xFF00 or length < 2 or at + 2 + length > len(frame):
            raise MalformedDICOM("JPEG 2000 main header is cut short", offset=at)
        segments.setdefault(marker, []).append(frame[at + 4 : at + 2 + length])
        at += 2 + length


def _only(segments: dict[int, list[bytes]], marker: int) -> bytes:
    found = segments.get(marker, [])
    if len(found) != 1:
        raise MalformedDICOM("JPEG 2000 main header has not exactly one size and one coding style")
    return found[0]


def _dimensions(siz: bytes) -> tuple[int, int, int, int, bool]:
    """Read SIZ (T.800 A.5.1): rows, columns, components, precision, signedness."""
    if len(siz) < _SIZ_FIXED.size:
        raise MalformedDICOM("JPEG 2000 size is cut short")
    _, x, y, x0, y0, tile_x, tile_y, tile_x0, tile_y0, components = _SIZ_FIXED.unpack_from(siz)
    precisions = siz[_SIZ_FIXED.size :: 3]
    if x <= x0 or y <= y0 or not tile_x or not tile_y or not components or len(precisions) < components:
        raise MalformedDICOM("JPEG 2000 size makes no sense")
    if -((tile_x0 - x) // tile_x) * -((tile_y0 - y) // tile_y) > MAX_TILES:
        raise MalformedDICOM("JPEG 2000 stream has more tiles than can be numbered")
    bits = max((precision & 0x7F) + 1 for precision in precisions)
    return y - y0, x - x0, components, bits, bool(precisions[0] & 0x80)
