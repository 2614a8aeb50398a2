"""What the metadata of a frame says about where, when and how it was taken.

Keys to compare frames by, rounded as far as writers of the same geometry differ. Where an
attribute is missing the key is None, and nothing is concluded.

References
----------
PS3.3 C.7.6.2 (Image Plane), C.7.6.16 (Multi-frame Functional Groups), C.8.13.5.9 (MR Diffusion).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from nearframe.dicom.model import DICOMJSON, PixelDescription

_SHARED_GROUPS: Final = "52009229"
_PER_FRAME_GROUPS: Final = "52009230"

_IMAGE_TYPE: Final = "00080008"
_MODALITY: Final = "00080060"
_SOURCE_IMAGES: Final = "00082112"
_REFERENCED_SOP_INSTANCE_UID: Final = "00081155"
_REFERENCED_FRAME_NUMBER: Final = "00081160"
_SLICE_THICKNESS: Final = "00180050"
_ECHO_TIME: Final = "00180081"
_KERNEL: Final = "00181210"
_ACQUISITION_NUMBER: Final = "00200012"
_INSTANCE_NUMBER: Final = "00200013"
_POSITION: Final = "00200032"
_ORIENTATION: Final = "00200037"
_FRAME_OF_REFERENCE_UID: Final = "00200052"
_TEMPORAL_POSITION: Final = "00200100"
_PIXEL_SPACING: Final = "00280030"
#: Diffusion b-value: standard, Siemens, Philips, GE.
_B_VALUES: Final = ("00189087", "0019100C", "20011003", "00431039")

_MILLIMETRES: Final = 2  # decimals
_COSINES: Final = 4
#: Millimetres, b-values and counters are far below; sums and products of numbers below stay finite.
_LARGEST: Final = 1e12


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of one frame.

    Attributes
    ----------
    place
        Same patient position, plane and grid; None without geometry.
    stack
        What slices of one acquisition and kernel share, whatever their thickness.
    height_mm
        Where in the stack, along its normal.
    moment
        Temporal position, acquisition and instance number, to order frames of one place by.
    sequence
        What tells kinds of pictures of one place apart: image type and echo time.
    sources
        SOP Instance UID and frame index (None: any) of the pictures it says it was made from.
    """

    modality: str
    place: Hashable | None
    stack: Hashable | None
    height_mm: float
    thickness_mm: float | None
    moment: tuple[float, float, float]
    sequence: Hashable
    is_diffusion: bool
    sources: tuple[tuple[str, int | None], ...]


def traits_of(metadata: DICOMJSON, pixel: PixelDescription | None, frame_index: int) -> Traits:
    """Read the traits of one frame of an instance. Values that make no sense count as missing."""
    layers = _layers(metadata, frame_index)
    origin, axes = _numbers(layers, _POSITION, 3), _numbers(layers, _ORIENTATION, 6)
    frame_of_reference = _text(layers, _FRAME_OF_REFERENCE_UID)
    image_type = tuple(str(value) for value in _values(layers, _IMAGE_TYPE))
    place = stack = None
    height = 0.0
    if origin and axes and pixel is not None and frame_of_reference:
        grid = (frame_of_reference, _rounded(axes, _COSINES), pixel.rows, pixel.columns)
        across, down = np.array(axes[:3]), np.array(axes[3:])
        height = float(np.dot(np.cross(across, down), origin))
        in_plane = [float(np.dot(across, origin)), float(np.dot(down, origin))]
        place = (*grid, _rounded(origin, _MILLIMETRES))
        stack = (
            *grid,
            _rounded(in_plane, 1),
            _rounded(_numbers(layers, _PIXEL_SPACING, 2), _COSINES),
            _text(layers, _ACQUISITION_NUMBER),
            _text(layers, _KERNEL),
        )
    return Traits(
        modality=_text(layers, _MODALITY),
        place=place,
        stack=stack,
        height_mm=height,
        thickness_mm=_number(layers, _SLICE_THICKNESS),
        moment=(
            _number(layers, _TEMPORAL_POSITION) or 0.0,
            _number(layers, _ACQUISITION_NUMBER) or 0.0,
            _number(layers, _INSTANCE_NUMBER) or 0.0,
        ),
        sequence=(image_type, _text(layers, _ECHO_TIME)),
        is_diffusion="DIFFUSION" in image_type or any((_number(layers, tag) or 0) > 0 for tag in _B_VALUES),
        sources=tuple(_sources(layers)),
    )


def _layers(metadata: DICOMJSON, frame_index: int) -> list[DICOMJSON]:
    """Return where a frame's attributes may stand: its own functional groups, the shared ones, the instance."""
    layers: list[DICOMJSON] = []
    for tag, index in ((_PER_FRAME_GROUPS, frame_index), (_SHARED_GROUPS, 0)):
        items = _values_of(metadata.get(tag))
        if index < len(items) and isinstance(items[index], dict):
            groups = [_values_of(group) for group in items[index].values()]
            layers += [group[0] for group in groups if group and isinstance(group[0], dict)]
    return [*layers, metadata]


def _values_of(attribute: object) -> list[Any]:
    """Return the values of a DICOM JSON attribute, none if it is anything else."""
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values if isinstance(values, list) else []


def _values(layers: list[DICOMJSON], tag: str) -> list[Any]:
    return next((values for layer in layers if (values := _values_of(layer.get(tag)))), [])


def _text(layers: list[DICOMJSON], tag: str) -> str:
    values = _values(layers, tag)
    return "" if not values or values[0] is None else str(values[0]).strip()


def _number(layers: list[DICOMJSON], tag: str) -> float | None:
    numbers = _numbers(layers, tag, 1)
    return numbers[0] if numbers else None


def _numbers(layers: list[DICOMJSON], tag: str, count: int) -> list[float]:
    """Return the first `count` values as numbers, or nothing."""
    try:
        numbers = [float(value) for value in _values(layers, tag)[:count]]
    except (TypeError, ValueError, OverflowError):
        return []
    make_sense = len(numbers) == count and all(abs(number) < _LARGEST for number in numbers)
    return numbers if make_sense else []


def _rounded(numbers: list[float], decimals: int) -> tuple[float, ...]:
    return tuple(round(number, decimals) + 0.0 for number in numbers)  # no minus zero


def _sources(layers: list[DICOMJSON]) -> Iterator[tuple[str, int | None]]:
    for item in _values(layers, _SOURCE_IMAGES):
        if isinstance(item, dict) and (uid := _text([item], _REFERENCED_SOP_INSTANCE_UID)):
            number = _number([item], _REFERENCED_FRAME_NUMBER)
            yield uid, None if number is None else int(number) - 1
