"""Settings of what is bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nearframe.config.declaring import setting
from nearframe.settingkinds import COUNT, NUMBER, SIZE
from nearframe.units import GIB, MIB


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """What of an object is bounded, so that none costs more than it may."""

    GROUP: ClassVar = "limits"

    max_instance_bytes: int = setting(SIZE, 16 * GIB, "Largest object taken in.", unit="bytes")
    max_header_bytes: int = setting(
        SIZE, 64 * MIB, "Largest part of an object that is not pixels or bulk data.", unit="bytes"
    )
    max_nesting: int = setting(COUNT, 32, "Deepest nesting of sequences.")
    max_elements: int = setting(COUNT, 1_000_000, "Most data elements in one object.")
    max_fragments: int = setting(COUNT, 250_000, "Most fragments of encapsulated pixel data.")
    max_frames: int = setting(COUNT, 250_000, "Most frames in one object.")
    max_inflated_bytes: int = setting(SIZE, GIB, "Largest deflated data set once inflated.", unit="bytes")
    max_inflate_ratio: int = setting(COUNT, 800, "Highest ratio of inflated to deflated bytes.")
    max_rejected_parts: int = setting(
        COUNT, 1000, "Most parts of one store request that are no object to be stored; then it ends."
    )
    max_parse_seconds: float = setting(NUMBER, 30.0, "Longest time spent parsing one object.", unit="s")
