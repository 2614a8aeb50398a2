"""`box` and `tiles`: the base, but for a rectangle or some tiles of 32 x 32 pixels.

Text burned in, a name blacked out, the moving part of an ultrasound picture. Where fewer
than half of the tiles are equal there is nothing to gain, and nothing is coded.

Parameters of `box`: coding, first row, first column, rows, columns. Of `tiles`: coding,
number of tiles; its payload starts with a bit for each tile of the picture, row by row,
lowest bit first; then come the changed tiles, one below the other, filled up at the
picture's edge with their last row and column.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearframe.delta.coding import decode_samples, described, encode_samples
from nearframe.delta.frame import Frame, FrameForm, Words, base_samples, check_rebuildable, from_words, unsigned
from nearframe.delta.rates import Rates
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.targets import colour_model
from nearframe.errors import MalformedRequest
from nearframe.wire.framerecipe import FrameRecipe, Operation

TILE = 32
_MIN_EQUAL_TILES = 0.5
#: JPEG-LS counts rows in 16 bits.
_MAX_TILES = 0xFFFF // TILE

_Map = npt.NDArray[np.bool_]


def encode(target: Frame, bases: Sequence[Frame], rates: Rates) -> FrameRecipe | None:
    """Return the shorter of the two recipes, or None if half of the tiles or more differ."""
    words, base, pixel = target.words, bases[0].words, target.form.pixel
    if words is None or base is None or pixel is None or words.shape != base.shape or words.dtype != base.dtype:
        return None
    differs = (words != base).reshape(pixel.rows, pixel.columns, -1).any(axis=2)
    changed = _changed_tiles(differs)
    if not changed.any() or changed.sum() > (1 - _MIN_EQUAL_TILES) * changed.size or target.target_samples is None:
        return None
    encoded = [_encode_box(words, differs, pixel, rates)]
    if changed.sum() <= _MAX_TILES:
        encoded.append(_encode_tiles(words, changed, pixel, rates))
    operation, parameters, payload = min(encoded, key=lambda one: len(one[2]))
    return FrameRecipe(operation, (bases[0].form.enc,), parameters, payload)


def decode(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Return the base with the changed part put over it."""
    pixel = check_rebuildable(target)
    base = unsigned(base_samples(bases[0], pixel))
    if base.itemsize * 8 != pixel.bits_allocated:
        raise MalformedRequest("the base of a box recipe has samples of another size")
    words = base.copy()
    if recipe.operation is Operation.BOX:
        _put_box(recipe, words, pixel)
    else:
        _put_tiles(recipe, words, pixel)
    return from_words(words, target)


_Encoded = tuple[Operation, tuple[int, ...], bytes]


def _encode_box(words: Words, differs: _Map, pixel: PixelDescription, rates: Rates) -> _Encoded:
    top, bottom = _extent(np.flatnonzero(differs.any(axis=1)))
    left, right = _extent(np.flatnonzero(differs.any(axis=0)))
    part = np.ascontiguousarray(words[top:bottom, left:right])
    coding, payload = encode_samples(part, _part(pixel, bottom - top, right - left), rates)
    return Operation.BOX, (coding, top, left, bottom - top, right - left), payload


def _put_box(recipe: FrameRecipe, words: Words, pixel: PixelDescription) -> None:
    if len(recipe.parameters) != 5:
        raise MalformedRequest("a box recipe has five parameters")
    coding, top, left, rows, columns = recipe.parameters
    if not (0 <= top < top + rows <= pixel.rows and 0 <= left < left + columns <= pixel.columns):
        raise MalformedRequest("the box of a recipe lies outside the frame")
    part = decode_samples(coding, recipe.payload, _part(pixel, rows, columns))
    words[top : top + rows, left : left + columns] = part


def _encode_tiles(words: Words, changed: _Map, pixel: PixelDescription, rates: Rates) -> _Encoded:
    count = int(changed.sum())
    down, across = changed.shape
    margin = ((0, down * TILE - pixel.rows), (0, across * TILE - pixel.columns), (0, 0))[: words.ndim]
    tiles = np.pad(words, margin, "edge").reshape(down, TILE, across, TILE, *words.shape[2:]).swapaxes(1, 2)
    strip = tiles[changed].reshape(count * TILE, TILE, *words.shape[2:])
    coding, payload = encode_samples(strip, _part(pixel, count * TILE, TILE), rates)
    return Operation.TILES, (coding, count), np.packbits(changed, bitorder="little").tobytes() + payload


def _put_tiles(recipe: FrameRecipe, words: Words, pixel: PixelDescription) -> None:
    if len(recipe.parameters) != 2:
        raise MalformedRequest("a tiles recipe has two parameters")
    coding, count = recipe.parameters
    across, down = -(-pixel.columns // TILE), -(-pixel.rows // TILE)
    map_bytes = -(-down * across // 8)
    packed = np.frombuffer(recipe.payload, np.uint8, min(map_bytes, len(recipe.payload)))
    if len(packed) < map_bytes:
        raise MalformedRequest("the recipe ends inside its map of tiles")
    places = np.flatnonzero(np.unpackbits(packed, count=down * across, bitorder="little"))
    if not 0 < count == len(places) <= _MAX_TILES:
        raise MalformedRequest("the recipe has another number of tiles than its map shows")
    strip = decode_samples(coding, recipe.payload[map_bytes:], _part(pixel, count * TILE, TILE))
    for number, place in enumerate(places.tolist()):
        row, column = TILE * (place // across), TILE * (place % across)
        hole = words[row : row + TILE, column : column + TILE]
        hole[...] = strip[number * TILE : number * TILE + hole.shape[0], : hole.shape[1]]


def _part(pixel: PixelDescription, rows: int, columns: int) -> PixelDescription:
    """Describe a part of the picture, as words."""
    photometric = colour_model(pixel.photometric_interpretation)
    return described(rows, columns, pixel.samples_per_pixel, pixel.bits_allocated, photometric)


def _changed_tiles(differs: _Map) -> _Map:
    """Return which tiles have a sample that differs, ``(tiles down, tiles across)``."""
    rows = np.logical_or.reduceat(differs, np.arange(0, differs.shape[0], TILE), axis=0)
    return np.logical_or.reduceat(rows, np.arange(0, differs.shape[1], TILE), axis=1)


def _extent(places: npt.NDArray[np.intp]) -> tuple[int, int]:
    """Return the first place, and the one after the last."""
    return int(places[0]), int(places[-1]) + 1
