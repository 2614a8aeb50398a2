"""Settings of threads and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nearframe.config.declaring import setting
from nearframe.settingkinds import COUNT, FLAG, SIZE
from nearframe.units import MIB


@dataclass(frozen=True, kw_only=True)
class WorkSettings:
    """How much is done at the same time, and in the background."""

    GROUP: ClassVar = "work"

    ingest_threads: int = setting(COUNT, 2, "Objects parsed and stored at the same time.")
    ingest_memory_bytes: int = setting(
        SIZE, 64 * MIB, "Memory that objects being taken in may use together.", unit="bytes"
    )
    spool_memory_threshold: int = setting(
        SIZE, 4 * MIB, "Size above which an object being received goes to disk.", unit="bytes"
    )
    codec_threads: int = setting(COUNT, 2, "Frames decoded or encoded at the same time.")
    renditions: bool = setting(FLAG, True, "Make HTJ2K renditions in the background.")
    recipes: bool = setting(
        FLAG,
        True,
        "Send frames to other nodes, and ask for them, as recipes where that is fewer bytes and the line is what takes "
        "the time.",
    )
    perceptual: bool = setting(
        FLAG, True, "Compute perceptual hashes in the background; at an edge, take over those of the upstream."
    )


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How much one search answers."""

    GROUP: ClassVar = "search"

    search_limit: int = setting(COUNT, 1000, "Most results of one search; more are announced by Warning.")


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """What is held in memory."""

    GROUP: ClassVar = "caches"

    frame_cache_bytes: int = setting(
        SIZE, 64 * MIB, "Memory for frames made on request (transcoded, rendered).", unit="bytes"
    )
    frame_memory_bytes: int = setting(
        SIZE,
        512 * MIB,
        "Memory for stored frames that are read repeatedly, held opened as they are sent; 0 to open them each time.",
        unit="bytes",
    )
    metadata_cache_bytes: int = setting(SIZE, 32 * MIB, "Memory for prepared metadata answers.", unit="bytes")
    record_cache_entries: int = setting(COUNT, 20_000, "Catalogue records kept in memory.")
