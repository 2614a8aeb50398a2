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
        JPEG bytes, packed and unpacked: packing takes most of it, and is not kept.
    jpeg_xl_samples
        Samples, packed, proved and unpacked again: more than half of it is the sender's.
    cores
        Cores that work on other frames while the line is busy with this one, as in a series;
        zero for a frame somebody waits for.
    """

    line: float
    htj2k: float = 270e6
    jpeg_ls: float = 90e6
    jpeg_xl: float = 2e6
    jpeg_xl_samples: float = 17e6
    held: float = 1e9
    arithmetic: float = 1e9
    cores: int = 0

    @classmethod
    def of_megabits(cls, megabits: float, cores: int = 0) -> Rates:
        """Return the rates of a line of so many Mbit/s and a receiver as measured here."""
        return cls(line=megabits * 1e6 / 8, cores=cores)

    def seconds(self, sent_bytes: float, work: float) -> float:
        """Return what a frame of so many bytes and seconds of work costs.

        Alone it is there when both are done, one after the other. In a row, frames come as
        often as the slower of line and cores lets them.
        """
        on_the_line = sent_bytes / self.line
        return max(on_the_line, work / self.cores) if self.cores else on_the_line + work
