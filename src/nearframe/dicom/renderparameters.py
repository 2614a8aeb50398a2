"""What a frame's metadata says about showing it, read from DICOM JSON.

Classic objects say it at the top level, enhanced ones in functional groups, shared or per
frame: the most specific place wins (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nearframe.dicom.grayscale import IDENTITY, LARGEST, LookupTable, ModalityTransform, VOIFunction, Window
from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.palette import Palette, expand_segments, palette_of
from nearframe.errors import MalformedDICOM

#: Gives the bytes behind a relative ``BulkDataURI``.
BulkReader = Callable[[str], bytes]

_MODALITY = "00080060"
_FRAME_TIME, _CINE_RATE, _DISPLAY_RATE = "00181063", "00180040", "00082144"
_PIXEL_SPACING, _IMAGER_PIXEL_SPACING, _PIXEL_ASPECT_RATIO = "00280030", "00181164", "00280034"
_PIXEL_PADDING_VALUE, _PIXEL_PADDING_RANGE_LIMIT = "00280120", "00280121"
_WINDOW_CENTER, _WINDOW_WIDTH, _VOI_LUT_FUNCTION = "00281050", "00281051", "00281056"
_RESCALE_INTERCEPT, _RESCALE_SLOPE = "00281052", "00281053"
_MODALITY_LUT_SEQUENCE, _VOI_LUT_SEQUENCE = "00283000", "00283010"
_LUT_DESCRIPTOR, _LUT_DATA = "00283002", "00283006"
_PALETTE_DESCRIPTOR = "00281101"
_PALETTE_DATA = ("00281201", "00281202", "00281203")
_SEGMENTED_PALETTE_DATA = ("00281221", "00281222", "00281223")
_ICC_PROFILE, _OPTICAL_PATH_SEQUENCE = "00282000", "00480105"
_PRESENTATION_LUT_SHAPE = "20500020"
_SHARED_GROUPS, _PER_FRAME_GROUPS = "52009229", "52009230"
_PIXEL_MEASURES, _FRAME_VOI_LUT, _PIXEL_VALUE_TRANSFORMATION = "00289110", "00289132", "00289145"

#: Beyond this a pixel aspect ratio is a mistake: no detector has such pixels.
MAX_ASPECT_RATIO = 8.0
_MAX_ICC_BYTES = 1 << 20
_DEFAULT_FRAME_TIME_MS = 100.0


@dataclass(frozen=True, eq=False, slots=True)
class RenderParameters:
    """What is needed beside the pixels to show a frame.

    Attributes
    ----------
    windows
        In the order of the object; the first is meant for display.
    is_inverted
        Presentation LUT Shape INVERSE.
    padding
        Lowest and highest stored value that is padding and not picture, or None.
    aspect_ratio
        Height of a pixel by its width.
    frame_time_ms
        For moving pictures.
    """

    modality: str = ""
    modality_transform: ModalityTransform = IDENTITY
    windows: tuple[Window, ...] = ()
    voi_lut: LookupTable | None = None
    is_inverted: bool = False
    padding: tuple[int, int] | None = None
    palette: Palette | None = None
    aspect_ratio: float = 1.0
    icc_profile: bytes | None = None
    frame_time_ms: float = _DEFAULT_FRAME_TIME_MS

    @classmethod
    def from_metadata(
        cls, metadata: DICOMJSON, frame_index: int = 0, read_bulk: BulkReader | None = None
    ) -> RenderParameters:
        """Read the parameters of one frame.

        Parameters
        ----------
        metadata
            The instance's DICOM JSON. What it holds that makes no sense is left out: a
            picture with a guessed window is worth more than none.
        frame_index
            Counts from zero.
        read_bulk
            Fetches tables that are not inline; without it they are left out.
        """
        reader = _Reader(metadata, frame_index, read_bulk)
        return cls(
            modality=reader.text(_MODALITY),
            modality_transform=reader.modality_transform(),
            windows=reader.windows(),
            voi_lut=reader.table(_VOI_LUT_SEQUENCE),
            is_inverted=reader.text(_PRESENTATION_LUT_SHAPE) == "INVERSE",
            padding=reader.padding(),
            palette=reader.palette(),
            aspect_ratio=reader.aspect_ratio(),
            icc_profile=reader.icc_profile(),
            frame_time_ms=reader.frame_time_ms(),
        )


class _Reader:
    """Looks attributes up where PS3.3 allows them, the most specific place first."""

    def __init__(self, metadata: DICOMJSON, frame_index: int, read_bulk: BulkReader | None) -> None:
        self._top = metadata
        self._groups = [
            *_items(metadata, _PER_FRAME_GROUPS)[frame_index : frame_index + 1],
            *_items(metadata, _SHARED_GROUPS)[:1],
        ]
        self._read_bulk = read_bulk

    def text(self, tag: str) -> str:
        value = next(iter(_values(self._top, tag)), "")
        return value if isinstance(value, str) else ""

    def _places(self, macro: str) -> Iterator[DICOMJSON]:
        """Yield the items of a functional group macro, per frame before shared, then the top level."""
        for group in self._groups:
            yield from _items(group, macro)[:1]
        yield self._top

    def modality_transform(self) -> ModalityTransform:
        table = self.table(_MODALITY_LUT_SEQUENCE)
        for place in self._places(_PIXEL_VALUE_TRANSFORMATION):
            slope, intercept = _numbers(place, _RESCALE_SLOPE), _numbers(place, _RESCALE_INTERCEPT)
            if slope and intercept and slope[0] != 0:
                return ModalityTransform(slope[0], intercept[0], table)
        return ModalityTransform(table=table)

    def windows(self) -> tuple[Window, ...]:
        for place in self._places(_FRAME_VOI_LUT):
            centers, widths = _numbers(place, _WINDOW_CENTER), _numbers(place, _WINDOW_WIDTH)
            name = next(iter(_values(place, _VOI_LUT_FUNCTION)), None)
            function = VOIFunction.__members__.get(str(name), VOIFunction.LINEAR)
            found = tuple(
                Window(center, width, function) for center, width in zip(centers, widths, strict=False) if width > 0
            )
            if found:
                return found
        return ()

    def table(self, sequence: str) -> LookupTable | None:
        for item in _items(self._top, sequence)[:1]:
            descriptor = _descriptor(item, _LUT_DESCRIPTOR)
            data = self._binary(item, _LUT_DATA)
            if descriptor is None or not data:
                return None
            entries, first, bits = descriptor
            # 8-bit entries are packed two to a word by some writers, one to a word by others.
            dtype = "u1" if len(data) < 2 * entries else "<u2"
            values = np.frombuffer(data, dtype, len(data) // np.dtype(dtype).itemsize)[:entries].astype(np.uint16)
            return LookupTable(values, first, bits) if values.size and 1 <= bits <= 16 else None
        return None

    def palette(self) -> Palette | None:
        descriptor = _descriptor(self._top, _PALETTE_DESCRIPTOR)
        if descriptor is None:
            return None
        entries, _, bits = descriptor
        try:
            planes = [self._binary(self._top, tag) for tag in _PALETTE_DATA]
            if not all(planes) and bits == 16:
                segmented = [self._binary(self._top, tag) for tag in _SEGMENTED_PALETTE_DATA]
                planes = [expand_segments(data, entries) for data in segmented if data]
            return palette_of(descriptor, *planes) if len(planes) == 3 and all(planes) else None
        except MalformedDICOM:
            return None

    def padding(self) -> tuple[int, int] | None:
        value, limit = _numbers(self._top, _PIXEL_PADDING_VALUE), _numbers(self._top, _PIXEL_PADDING_RANGE_LIMIT)
        if not value:
            return None
        ends = (int(value[0]), int(limit[0] if limit else value[0]))
        return min(ends), max(ends)

    def aspect_ratio(self) -> float:
        for place in self._places(_PIXEL_MEASURES):
            for tag in (_PIXEL_SPACING, _IMAGER_PIXEL_SPACING, _PIXEL_ASPECT_RATIO):
                # All three name the vertical first: row spacing is the distance between rows.
                pair = _numbers(place, tag)
                if len(pair) == 2 and min(pair) > 0 and 1 / MAX_ASPECT_RATIO <= pair[0] / pair[1] <= MAX_ASPECT_RATIO:
                    return pair[0] / pair[1]
        return 1.0

    def icc_profile(self) -> bytes | None:
        for place in (self._top, *_items(self._top, _OPTICAL_PATH_SEQUENCE)[:1]):
            profile = self._binary(place, _ICC_PROFILE)
            # ICC.1 7.2: the signature that every profile carries.
            if profile and len(profile) <= _MAX_ICC_BYTES and profile[36:40] == b"acsp":
                return profile
        return None

    def frame_time_ms(self) -> float:
        if time := [ms for ms in _numbers(self._top, _FRAME_TIME) if ms > 0]:
            return time[0]
        rates = _numbers(self._top, _DISPLAY_RATE) + _numbers(self._top, _CINE_RATE)
        return next((1000 / rate for rate in rates if rate > 0), _DEFAULT_FRAME_TIME_MS)

    def _binary(self, item: DICOMJSON, tag: str) -> bytes:
        """Return a table's bytes, little endian: inline, behind a URI, or as numbers (US)."""
        element = item.get(tag, {})
        if "InlineBinary" in element:
            try:
                return base64.b64decode(element["InlineBinary"], validate=True)
            except (binascii.Error, TypeError):
                return b""
        if "BulkDataURI" in element:
            return self._read_bulk(element["BulkDataURI"]) if self._read_bulk else b""
        return np.array(_numbers(item, tag)).astype("<u2").tobytes()


def _values(item: DICOMJSON, tag: str) -> list[object]:
    values = item.get(tag, {}).get("Value", [])
    return values if isinstance(values, list) else []


def _items(item: DICOMJSON, tag: str) -> list[DICOMJSON]:
    return [value for value in _values(item, tag) if isinstance(value, dict)]


def _numbers(item: DICOMJSON, tag: str) -> list[float]:
    """Return the values that are numbers; PS3.18 F.2.3 allows DS and IS as text too."""
    found = []
    for value in _values(item, tag):
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            continue
        if abs(number) <= LARGEST:  # not NaN either
            found.append(number)
    return found


def _descriptor(item: DICOMJSON, tag: str) -> tuple[int, int, int] | None:
    """Return number of entries, first input value and bits of a LUT Descriptor (PS3.3 C.11.1.1)."""
    numbers = [int(number) for number in _numbers(item, tag)]
    if len(numbers) != 3:
        return None
    entries, first, bits = numbers
    # Written as SS, 32768 to 65535 entries come out negative; 0 means 65536.
    return (entries & 0xFFFF) or 65_536, first, bits
