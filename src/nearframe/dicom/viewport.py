"""Which part of a picture to show and how large (PS3.18 section 8.3.5.1.3)."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from nearframe.errors import LimitExceeded, MalformedRequest

#: The longest side of a rendered picture: an 8K screen.
MAX_VIEWPORT_PIXELS = 8192


@dataclass(frozen=True, slots=True)
class Viewport:
    """Size of the wanted picture, and the source region shown in it.

    Attributes
    ----------
    width, height
        The picture fits into these, its proportions kept.
    x, y
        Upper left corner of the region.
    region_width, region_height
        None for all that is left; negative to flip the picture in that direction.
    """

    width: int
    height: int
    x: float = 0
    y: float = 0
    region_width: float | None = None
    region_height: float | None = None

    @classmethod
    def parse(cls, text: str) -> Viewport:
        """Read ``vw,vh`` or ``vw,vh,sx,sy,sw,sh``; of the last four each may be empty.

        Raises
        ------
        MalformedRequest
            If it is anything else.
        LimitExceeded
            If the picture would be larger than `MAX_VIEWPORT_PIXELS`.
        """
        parts = text.split(",")
        if len(parts) not in (2, 6):
            raise MalformedRequest("viewport is vw,vh or vw,vh,sx,sy,sw,sh")
        try:
            width, height = int(parts[0]), int(parts[1])
            x, y, region_width, region_height = (float(p) if p.strip() else None for p in (parts[2:] or [""] * 4))
        except ValueError as error:
            raise MalformedRequest("viewport has something that is not a number") from error
        if width < 1 or height < 1 or region_width == 0 or region_height == 0:
            raise MalformedRequest("viewport sizes are at least 1")
        if max(width, height) > MAX_VIEWPORT_PIXELS:
            raise LimitExceeded("max_viewport_pixels", MAX_VIEWPORT_PIXELS, max(width, height))
        return cls(width, height, x or 0, y or 0, region_width, region_height)

    @property
    def is_whole(self) -> bool:
        """True if all of the source is shown."""
        return self.x == self.y == 0 and self.region_width is None and self.region_height is None

    def box(self, columns: int, rows: int) -> tuple[float, float, float, float]:
        """Return left, top, right, bottom of the region within a source of that size.

        Raises
        ------
        MalformedRequest
            If the region lies outside the source.
        """
        left, top = max(self.x, 0), max(self.y, 0)
        right = min(left + abs(self.region_width or columns), columns)
        bottom = min(top + abs(self.region_height or rows), rows)
        if not (left < right and top < bottom):
            raise MalformedRequest("viewport region lies outside the image")
        return left, top, right, bottom

    def apply(self, image: Image.Image, aspect_ratio: float = 1.0) -> Image.Image:
        """Return the picture; `aspect_ratio` is the height of a source pixel by its width."""
        left, top, right, bottom = self.box(*image.size)
        region_width, region_height = right - left, (bottom - top) * aspect_ratio
        scale = min(self.width / region_width, self.height / region_height)
        size = max(1, round(region_width * scale)), max(1, round(region_height * scale))
        image = image.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom), reducing_gap=2.0)
        if (self.region_width or 0) < 0:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if (self.region_height or 0) < 0:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        return image


def square_pixels(image: Image.Image, aspect_ratio: float) -> Image.Image:
    """Return the picture with square pixels: stretched, never shrunk, so that no sample is lost."""
    if abs(aspect_ratio - 1) < 0.01:
        return image
    columns, rows = image.size
    size = (columns, round(rows * aspect_ratio)) if aspect_ratio > 1 else (round(columns / aspect_ratio), rows)
    if max(size) > MAX_VIEWPORT_PIXELS:
        return image
    return image.resize(size, Image.Resampling.BILINEAR)
