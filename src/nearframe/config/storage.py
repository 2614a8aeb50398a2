"""Settings of what is stored: on a disk, or in a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from nearframe.config.declaring import setting
from nearframe.settingkinds import COUNT, FLAG, NUMBER, OPTIONAL_PATH, SIZE, TABLES, TEXT, URL, Tables, choice
from nearframe.units import GIB, MIB

#: What the catalogue's log and the index of the packs may grow by before they are next brought up to date.
#: On a disk without it a node cannot be started again.
WORKING_BYTES: Final = 8 * MIB


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """How contents are kept on a disk, and for how long."""

    GROUP: ClassVar = "storage"

    segment_bytes: int = setting(SIZE, 128 * MIB, "Size at which a pack is closed.", unit="bytes")
    chunk_bytes: int = setting(
        SIZE, MIB, "Plain bytes sealed together, a power of two; a range read opens whole chunks.", unit="bytes"
    )
    disk_reserve_bytes: int = setting(
        SIZE, GIB, "Free disk space below which nothing more is taken in; 8 MiB are kept in any case.", unit="bytes"
    )
    disk_high_mark_bytes: int = setting(
        SIZE,
        2 * GIB,
        "Free disk space below which nothing is made in the background, so that objects are taken in for longer.",
        unit="bytes",
    )
    scrub_days: int = setting(
        COUNT, 30, "Days between scrubs, which read and prove all that is stored; 0 for never.", unit="days"
    )
    upkeep_rate_bytes: int = setting(
        SIZE, 32 * MIB, "Bytes a second that scrub and compaction read at most; 0 for no limit.", unit="bytes"
    )
    delete_policy: str = setting(
        choice("refuse", "remove"), "refuse", "What DELETE does: answer 403, or remove from view."
    )
    retention: Tables = setting(
        TABLES,
        (),
        "How long studies are kept: [[retention]] tables with name, keep_years, until_age, counts_from, action "
        "(report, delete) and conditions by keyword, such as Modality.",
    )
    purge_days: int = setting(
        COUNT,
        90,
        "Days for which what was deleted can be brought back; then it goes for good, its bytes too. 0 for never.",
        unit="days",
    )

    @property
    def kept_free_bytes(self) -> int:
        """Disk space that nothing taken in may use."""
        return max(self.disk_reserve_bytes, WORKING_BYTES)


@dataclass(frozen=True, kw_only=True)
class ObjectStoreSettings:
    """The bucket that an origin keeps its contents in."""

    GROUP: ClassVar = "object store"

    s3_url: str = setting(
        TEXT, "", "Keep contents in a bucket (s3://bucket/prefix); empty means packs in the home folder. Origins only."
    )
    s3_endpoint: str = setting(URL, "", "URL of the S3 server; empty for the one that the region says.")
    s3_region: str = setting(TEXT, "", "Region; empty for what the standard AWS configuration says.")
    s3_path_style: bool = setting(
        FLAG, False, "Name the bucket in the path rather than in the host: most servers of one's own."
    )
    s3_ca: Path | None = setting(OPTIONAL_PATH, None, "Certificates (PEM) that the S3 server's is checked against.")
    s3_timeout_s: float = setting(
        NUMBER, 20.0, "Longest wait for a byte of an answer; a request is tried four times.", unit="s"
    )
    s3_connections: int = setting(COUNT, 16, "Connections to the S3 server at the same time.")
    s3_object_bytes: int = setting(
        SIZE,
        16 * MIB,
        "Size at which an object is full; about ten times as much memory is used while many send.",
        unit="bytes",
    )
    s3_cache_bytes: int = setting(
        SIZE,
        8 * GIB,
        "Local disk for what was read and written lately, sealed; 0 to ask the bucket each time.",
        unit="bytes",
    )
