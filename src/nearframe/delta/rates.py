"""What it costs that a frame arrives: the bytes on the line, and the work after them.

The speeds are those of one core (`docs/reference/codecs.md`); an edge on other hardware
passes its own.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A recipe from a base must beat the frame sent whole by this factor: it also ties the frame to its base.
WIN = 0.8


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second: of the line, and of what the receiver does. Decoders count native bytes.

    Attributes
    ----------
    line
        What the line carries, as measured.
    held
        What the receiver's store gives of a base that is not in memory.
    arithmetic
        Looking up, adding and comparing samples.
    jpeg_xl
        JPEG bytes that come out of JPEG XL.
    decoders
        Frames that are decoded at once while the line brings more: one for a frame somebody
        waits for, the receiver's cores for a whole series.
    """

    line: float
    htj2k: float = 270e6
    jpeg_ls: float = 90e6
    jpeg_xl: float = 8e6
    held: float = 1e9
    arithmetic: float = 1e9
    decoders: int = 1

    @classmethod
    def of_megabits(cls, megabits: float, decoders: int = 1) -> Rates:
        """Return the rates of a line of so many Mbit/s and a receiver as measured here."""
        return cls(line=megabits * 1e6 / 8, decoders=decoders)
