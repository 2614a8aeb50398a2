"""Read the headers of a JPEG 2000 or HTJ2K frame, and refuse those that cost more than they can be worth.

A decoder lays out precincts and code blocks before it reads a byte of them: 2 KB that announce
precincts of 2 x 2 pixels make OpenJPEG work for 25 s in 2.3 GB. So the headers are read here
first, those of the tile-parts too, since they may overrule the main one.

References
----------
ITU-T T.800 Annex A and B (JPEG 2000), ITU-T T.814 Annex A (HTJ2K).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from nearframe.dicom.codestream import Codestream
from nearframe.errors import MalformedDICOM

# Markers (T.800 Table A.2).
_SOC, _CAP, _SIZ, _COD, _COC = 0xFF4F, 0xFF50, 0xFF51, 0xFF52, 0xFF53
_SOT, _SOD, _EOC = 0xFF90, 0xFF93, 0xFFD9
_SOC_SIZ = struct.pack(">HH", _SOC, _SIZ)
_SOT_BYTES = 12
_SIZ_FIXED = struct.Struct(">H8IH")
_REVERSIBLE_5_3 = 1  # T.800 Table A.20
_HAS_PRECINCTS = 0x01  # T.800 Table A.13
_PCAP_PART_15 = 1 << (32 - 15)  # T.814 A.2
_MAX_LEVELS = 32  # T.800 Table A.15

#: OpenJPEG keeps 7 KB for each; frames of 8192 x 8192 in tiles of 64 have as many.
MAX_TILES = 16_384
#: OpenJPEG keeps 1.7 KB for each; 16384 x 16384 RGB in precincts of 256 has an eighth as many.
MAX_PRECINCTS = 1 << 17
#: 0.4 KB each; 16384 x 16384 RGB in blocks of 64 has a fifth as many.
MAX_CODE_BLOCKS = 1 << 20
# PS3.5 8.2.4 forbids JP2 boxes, some writers put them in; with an ICC profile they reach a few hundred KB.
_MAX_BOX_BYTES = 1 << 20

Segments = dict[int, list[bytes]]


@dataclass(frozen=True, slots=True)
class TilePart:
    """Where a tile-part lies: from its SOT marker to the byte after its last."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Size:
    """SIZ (T.800 A.5.1)."""

    rows: int
    columns: int
    components: int
    tiles: int
    bits: int
    is_signed: bool


@dataclass(frozen=True, slots=True)
class _Style:
    """The coding style of one component or of all: SPcod or SPcoc (T.800 Table A.15)."""

    levels: int
    block_width: int
    block_height: int
    transform: int
    #: Exponents of the precinct size by resolution, lowest first; empty for the largest, 32768 x 32768.
    precincts: bytes


def read_jpeg_2000(frame: bytes) -> Codestream:
    """Read the headers of a frame, and check that every tile-part it announces is there.

    Raises
    ------
    MalformedDICOM
        If it is no such stream, is cut short, or would take memory out of all proportion.
    """
    start, segments, body = _main_header(frame)
    size = _read_size(_only(segments, _SIZ))
    _only(segments, _COD)
    headers = [segments, *(_segments(frame, part.start + _SOT_BYTES, _SOD)[0] for part in tile_parts(frame, body))]
    styles = [style for header in headers for style in _styles(header)]
    layers = max(int.from_bytes(cod[2:4], "big") for header in headers for cod in header.get(_COD, []))
    for style in styles:
        _check_work(size, style, layers=layers, frame_bytes=len(frame))
    capabilities = segments.get(_CAP, [b""])[0][:4]
    return Codestream(
        rows=size.rows,
        columns=size.columns,
        components=size.components,
        bits=size.bits,
        is_signed=size.is_signed,
        is_lossless=all(style.transform == _REVERSIBLE_5_3 for style in styles),
        start=start,
        is_high_throughput=bool(int.from_bytes(capabilities, "big") & _PCAP_PART_15),
        levels=min(style.levels for style in styles),
    )


def resolution_offsets(frame: bytes) -> tuple[int, ...]:
    """Return where each resolution is complete, smallest first, the last being the whole tile data.

    Meaningful for a stream of one tile with one tile-part per resolution, as `transcode`
    writes them: any prefix up to an offset decodes to exactly that resolution.
    """
    _, _, body = _main_header(frame)
    return tuple(part.stop for part in tile_parts(frame, body))


def complete_resolutions(beginning: bytes) -> tuple[bytes, int]:
    """Return a stream of the resolutions that the beginning of one holds whole, and how often its picture is halved.

    For streams as in `resolution_offsets`.

    Raises
    ------
    MalformedDICOM
        If not even the lowest resolution is whole.
    """
    _, segments, body = _main_header(beginning)
    levels = max((style.levels for style in _styles(segments)), default=0)
    whole: list[TilePart] = []
    # What is missing shows as a missing end marker.
    with suppress(MalformedDICOM):
        for part in tile_parts(beginning, body):
            whole.append(part)  # noqa: PERF402 - what came before the end is wanted
    if not whole:
        raise MalformedDICOM("too little of the frame has come to show anything")
    return beginning[: whole[-1].stop] + _EOC.to_bytes(2, "big"), max(0, levels + 1 - len(whole))


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
        (length,) = struct.unpack_from(">I", frame, at + 6)
        # Psot = 0: the last tile-part, up to the end marker (T.800 A.4.2).
        stop = at + length if length else frame.rfind(b"\xff\xd9")
        if stop < at + _SOT_BYTES or stop > len(frame):
            raise MalformedDICOM("JPEG 2000 tile-part is longer than the frame", offset=at)
        yield TilePart(at, stop)
        at = stop


def _main_header(frame: bytes) -> tuple[int, Segments, int]:
    """Return where the codestream starts, its segments by marker, and the offset of the first tile-part."""
    start = frame.find(_SOC_SIZ, 0, _MAX_BOX_BYTES)
    if start < 0:
        raise MalformedDICOM("frame is not a JPEG 2000 codestream")
    segments, body = _segments(frame, start + 2, _SOT)
    return start, segments, body


def _segments(frame: bytes, at: int, last: int) -> tuple[Segments, int]:
    """Return the marker segments from `at` to the marker `last`, and where that is."""
    segments: Segments = {}
    while True:
        marker, length = int.from_bytes(frame[at : at + 2], "big"), int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == last:
            return segments, at
        if marker < 0xFF00 or length < 2 or at + 2 + length > len(frame):
            raise MalformedDICOM("JPEG 2000 header is cut short", offset=at)
        segments.setdefault(marker, []).append(frame[at + 4 : at + 2 + length])
        at += 2 + length


def _only(segments: Segments, marker: int) -> bytes:
    found = segments.get(marker, [])
    if len(found) != 1:
        raise MalformedDICOM("JPEG 2000 main header has not exactly one size and one coding style")
    return found[0]


def _read_size(siz: bytes) -> _Size:
    if len(siz) < _SIZ_FIXED.size:
        raise MalformedDICOM("JPEG 2000 size is cut short")
    _, x, y, x0, y0, tile_x, tile_y, tile_x0, tile_y0, components = _SIZ_FIXED.unpack_from(siz)
    precisions, sampling = siz[_SIZ_FIXED.size :: 3], siz[_SIZ_FIXED.size + 1 :: 3] + siz[_SIZ_FIXED.size + 2 :: 3]
    if x <= x0 or y <= y0 or not components or len(sampling) < 2 * components:
        raise MalformedDICOM("JPEG 2000 size makes no sense")
    if any(factor != 1 for factor in sampling):
        raise MalformedDICOM("JPEG 2000 stream has subsampled components, which DICOM has not")
    # T.800 B.3: the first tile holds the origin. With an origin before the tiles OpenJPH never returns.
    if not (tile_x0 <= x0 < tile_x0 + tile_x and tile_y0 <= y0 < tile_y0 + tile_y):
        raise MalformedDICOM("JPEG 2000 tiles do not cover the image")
    tiles = _ceil(x - tile_x0, tile_x) * _ceil(y - tile_y0, tile_y)
    if tiles > MAX_TILES:
        raise MalformedDICOM(f"JPEG 2000 stream has {tiles} tiles, more than we give memory to")
    bits = max((precision & 0x7F) + 1 for precision in precisions)
    return _Size(y - y0, x - x0, components, tiles, bits, bool(precisions[0] & 0x80))


def _styles(segments: Segments) -> Iterator[_Style]:
    for cod in segments.get(_COD, []):
        yield _read_style(cod[:1], cod[5:])  # Scod, progression, layers, component transform, SPcod
    for coc in segments.get(_COC, []):
        yield _read_style(coc[1:2], coc[2:])  # Ccoc, Scoc, SPcoc


def _read_style(flags: bytes, parameters: bytes) -> _Style:
    if len(parameters) < 5 or parameters[0] > _MAX_LEVELS:
        raise MalformedDICOM("JPEG 2000 coding style is cut short")
    levels, width, height, _, transform = parameters[:5]
    has_precincts = flags[0] & _HAS_PRECINCTS
    precincts = parameters[5 : 6 + levels] if has_precincts else b""
    if has_precincts and len(precincts) != levels + 1:
        raise MalformedDICOM("JPEG 2000 coding style has not all of its precinct sizes")
    return _Style(levels, 1 << (width & 0x0F) + 2, 1 << (height & 0x0F) + 2, transform, precincts)


def _check_work(size: _Size, style: _Style, *, layers: int, frame_bytes: int) -> None:
    """Refuse more precincts, packets or code blocks than a frame of that size may have."""
    precincts = 0
    for resolution in range(style.levels + 1):
        exponents = style.precincts[resolution] if style.precincts else 0xFF
        shrunk = style.levels - resolution
        across = _ceil(_ceil(size.columns, 1 << shrunk), 1 << (exponents & 0x0F))
        down = _ceil(_ceil(size.rows, 1 << shrunk), 1 << (exponents >> 4))
        precincts += max(across * down, size.tiles)
    precincts *= size.components
    if precincts > MAX_PRECINCTS:
        raise MalformedDICOM(f"JPEG 2000 stream has {precincts} precincts, more than we give memory to")
    # A packet has a byte at least (T.800 B.10.3).
    if layers * precincts > frame_bytes:
        raise MalformedDICOM("JPEG 2000 stream announces more packets than it has bytes")
    blocks = size.components * _ceil(size.columns, style.block_width) * _ceil(size.rows, style.block_height)
    if blocks > MAX_CODE_BLOCKS:
        raise MalformedDICOM(f"JPEG 2000 stream has {blocks} code blocks, more than we give memory to")


def _ceil(value: int, divisor: int) -> int:
    return -(-value // divisor)
