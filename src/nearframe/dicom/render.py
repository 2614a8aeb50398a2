"""A frame as a picture for people: the Rendered and Thumbnail resources of PS3.18 section 10.4.

The order is that of the standard's image pipeline: stored values, modality LUT, VOI,
presentation (PS3.4 Annex N.2), or palette and colour transform; then region, size and
encoding. What comes out is for display, not for diagnosis.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.grayscale import (
    Display,
    Values,
    VOIFunction,
    Window,
    automatic_window,
    stored_values,
    through_table,
)
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.dicom.targets import decoded_description
from nearframe.dicom.viewport import Viewport, square_pixels
from nearframe.errors import LimitExceeded, MalformedRequest, NotAcceptable

#: Media types a frame can be rendered to, the default first (PS3.18 Table 8.7.4-1).
RENDERED_MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif")
DEFAULT_QUALITY = 90
THUMBNAIL_PIXELS = 256
#: An animated picture holds every frame in memory.
MAX_ANIMATION_BYTES = 256 * 1024 * 1024

# PS3.3 C.7.6.3.1.2: the inverse of the matrix given for YBR_FULL.
_YBR_TO_RGB = np.array([[1, 1, 1], [0, -0.344136, 1.772], [1.402, -0.714136, 0]], np.float32)


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What a request asks for.

    Attributes
    ----------
    quality
        1 to 100, for JPEG.
    window
        Instead of the object's own.
    """

    media_type: str = RENDERED_MEDIA_TYPES[0]
    quality: int = DEFAULT_QUALITY
    window: Window | None = None
    viewport: Viewport | None = None


def parse_window(text: str) -> Window:
    """Read the ``window=center,width,function`` parameter (PS3.18 section 8.3.5.1.4).

    Raises
    ------
    MalformedRequest
        If it is anything else.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 3):
        raise MalformedRequest("window is center,width,function")
    name = (parts[2] if len(parts) == 3 else "linear").upper().replace("-", "_")
    try:
        center, width = float(parts[0]), float(parts[1])
    except ValueError as error:
        raise MalformedRequest("window center and width are numbers") from error
    if name not in VOIFunction.__members__ or not np.isfinite([center, width]).all():
        raise MalformedRequest("window function is linear, linear-exact or sigmoid")
    if width <= 0 or (name == "LINEAR" and width < 1):
        raise MalformedRequest("window width is more than 0, and at least 1 for linear")
    return Window(center, width, VOIFunction(name))


def render(
    encoded: bytes,
    transfer_syntax_uid: str,
    pixel: PixelDescription,
    parameters: RenderParameters,
    options: RenderOptions = RenderOptions(),
) -> bytes:
    """Return one frame as a picture.

    A frame whose codec has lower resolutions is decoded no larger than the viewport needs.

    Raises
    ------
    NotAcceptable
        If the frame cannot be decoded here, or not to that media type.
    MalformedDICOM, LimitExceeded, MalformedRequest
        If frame, size or region make no sense.
    """
    image = _image(encoded, transfer_syntax_uid, pixel, parameters, options)
    return _encode(image, parameters, options)


def render_animation(
    frames: Iterable[bytes],
    transfer_syntax_uid: str,
    pixel: PixelDescription,
    parameters: Sequence[RenderParameters],
    options: RenderOptions,
) -> bytes:
    """Return frames as an animated GIF that runs for ever at the object's own speed.

    Parameters
    ----------
    parameters
        One for each frame, or one for all.

    Raises
    ------
    NotAcceptable, MalformedDICOM, LimitExceeded, MalformedRequest
        As `render`; `MalformedRequest` also if there is no frame.
    """
    images, held = [], 0
    for index, encoded in enumerate(frames):
        chosen = parameters[min(index, len(parameters) - 1)]
        image = _image(encoded, transfer_syntax_uid, pixel, chosen, options)
        held += image.width * image.height * len(image.getbands())
        if held > MAX_ANIMATION_BYTES:
            raise LimitExceeded("max_animation_bytes", MAX_ANIMATION_BYTES, held)
        images.append(image)
    if not images:
        raise MalformedRequest("no frames to render")
    out = io.BytesIO()
    duration = max(20, round(parameters[0].frame_time_ms))  # viewers slow down anything faster than 20 ms
    images[0].save(out, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)
    return out.getvalue()


def display_values(
    samples: Samples, pixel: PixelDescription, parameters: RenderParameters, window: Window | None = None
) -> Display:
    """Return decoded samples as 8-bit grey ``(rows, columns)`` or RGB ``(rows, columns, 3)``.

    Parameters
    ----------
    pixel
        The decoded description; `samples` may be of a lower resolution.
    window
        Instead of the object's own.

    Raises
    ------
    NotAcceptable
        If we know no way to show this photometric interpretation.
    """
    photometric = pixel.photometric_interpretation
    values = stored_values(samples, pixel)
    if photometric in ("MONOCHROME1", "MONOCHROME2") and samples.ndim == 2:
        return _monochrome(values, pixel, parameters, window)
    if photometric == "PALETTE COLOR" and parameters.palette is not None and samples.ndim == 2:
        return parameters.palette.apply(values)
    if photometric in ("RGB", "YBR_FULL") and samples.shape[2:] == (3,) and samples.dtype.kind == "u":
        shown = (values >> max(pixel.bits_stored - 8, 0)).astype(np.uint8, copy=False)
        return shown if photometric == "RGB" else _ybr_to_rgb(shown)
    raise NotAcceptable("this photometric interpretation cannot be rendered")


def _monochrome(
    values: Samples, pixel: PixelDescription, parameters: RenderParameters, window: Window | None
) -> Display:
    modality = parameters.modality_transform
    voi = _voi(values, pixel, parameters, window)
    # MONOCHROME1 with shape INVERSE says the same thing twice (PS3.3 C.8.11.3.1.2).
    inverted = pixel.photometric_interpretation == "MONOCHROME1" or parameters.is_inverted

    def pipeline(stored: Values) -> Values:
        shown = voi(modality.apply(stored))
        if inverted:
            shown = 1 - shown
        if parameters.padding is not None:
            low, high = parameters.padding
            shown = np.where((stored >= low) & (stored <= high), 0.0, shown)
        return shown

    return through_table(values, pipeline)


def _voi(
    values: Samples, pixel: PixelDescription, parameters: RenderParameters, window: Window | None
) -> Callable[[Values], Values]:
    """Return the VOI transform: the wanted window, the object's first, its VOI LUT, or one that fits the pixels."""
    if window is None and not parameters.windows and parameters.voi_lut is not None:
        return parameters.voi_lut.to_display
    if window is None and parameters.windows:
        window = parameters.windows[0]
    return (window or _window_of_last_resort(values, pixel, parameters)).apply


def _window_of_last_resort(values: Samples, pixel: PixelDescription, parameters: RenderParameters) -> Window:
    modality = parameters.modality_transform
    if values.dtype.kind == "u" and pixel.bits_stored <= 8 and modality.table is None:
        # Made for an 8-bit screen: secondary captures, ultrasound.
        low, high = modality.apply(np.array([0.0, float((1 << pixel.bits_stored) - 1)]))
        return Window((low + high) / 2, max(abs(high - low), 1e-9), VOIFunction.LINEAR_EXACT)
    return automatic_window(values, parameters.padding, modality)


def _ybr_to_rgb(ybr: Display) -> Display:
    centred = ybr.astype(np.float32)
    centred[..., 1:] -= 128
    rgb: Display = np.clip(np.rint(centred @ _YBR_TO_RGB), 0, 255).astype(np.uint8)
    return rgb


def _image(
    encoded: bytes,
    transfer_syntax_uid: str,
    pixel: PixelDescription,
    parameters: RenderParameters,
    options: RenderOptions,
) -> Image.Image:
    viewport = options.viewport
    reduce = _reduction(pixel, viewport)
    samples = decode_frame(encoded, transfer_syntax_uid, pixel, reduce=reduce)
    decoded = decoded_description(transfer_syntax_uid, pixel)
    image = Image.fromarray(display_values(samples, decoded, parameters, options.window))
    if viewport is None:
        return square_pixels(image, parameters.aspect_ratio)
    return viewport.apply(image, parameters.aspect_ratio)


def _reduction(pixel: PixelDescription, viewport: Viewport | None) -> int:
    """Return how often the frame may be halved and still fill the viewport."""
    if viewport is None or not viewport.is_whole:
        return 0
    scale = max(pixel.columns / viewport.width, pixel.rows / viewport.height)
    return max(0, int(scale).bit_length() - 1)


def _encode(image: Image.Image, parameters: RenderParameters, options: RenderOptions) -> bytes:
    out = io.BytesIO()
    icc = parameters.icc_profile if image.mode == "RGB" else None
    match options.media_type:
        case "image/jpeg":
            image.save(out, "JPEG", quality=min(max(options.quality, 1), 100), icc_profile=icc)
        case "image/png":
            image.save(out, "PNG", compress_level=1, icc_profile=icc)
        case "image/gif":
            image.save(out, "GIF")
        case _:
            raise NotAcceptable("frames are not rendered to that media type", RENDERED_MEDIA_TYPES)
    return out.getvalue()
