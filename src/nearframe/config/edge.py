"""Settings of an edge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

from nearframe.config.declaring import setting
from nearframe.settingkinds import (
    COUNT,
    DICOM_SCHEME,
    DURATION,
    FLAG,
    NUMBER,
    OPTIONAL_PATH,
    SIZE,
    TABLES,
    TEXT,
    URLS,
    Tables,
    choice,
)


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """What an edge follows, fetches, holds and passes on."""

    GROUP: ClassVar = "edge"

    upstream: tuple[str, ...] = setting(
        URLS,
        (),
        "URL of the node that an edge fetches from and follows. Several are ranked: the first that answers is used. "
        "dicom://TITLE@HOST:PORT, or dicom:// and the ae_title of one of [[peers]], is an archive that speaks DICOM's "
        "own protocol.",
    )
    upstream_kind: str = setting(
        choice("nearframe", "dicomweb"),
        "nearframe",
        "What the upstream is: a node of ours, or any archive that speaks DICOMweb (its URL is the DICOMweb root).",
    )
    compare_minutes: int = setting(
        COUNT, 5, "Minutes between two comparisons of an opened study with an archive that has no feed."
    )
    upstream_ca: Path | None = setting(
        OPTIONAL_PATH, None, "Authority (PEM) that signed the upstream's certificate, if not a public one."
    )
    stores: str = setting(
        choice("local", "forward"),
        "local",
        "What becomes of objects sent to an edge: taken in here and forwarded by itself, or passed on at once.",
    )
    outbox_patience_s: float = setting(
        NUMBER,
        900.0,
        "Age of the oldest object that is here alone, not upstream, from which health is degraded.",
        unit="s",
    )
    deltas: bool = setting(
        FLAG, True, "When a study changed, ask the upstream for the changes only, not for its whole manifest."
    )
    prefetch: bool = setting(
        FLAG, True, "Once a frame of a series had to be fetched, fetch the rest in the background."
    )
    push: str = setting(
        choice("none", "today", "all"),
        "today",
        "Studies fetched before anybody asks, if they are routine or more urgent: today's are those acquired within "
        "24 hours, or scheduled for today.",
    )
    prior_studies: int = setting(
        COUNT, 3, "Studies of the same patient fetched when one is opened, those most alike first."
    )
    worklist: str = setting(
        TEXT,
        "",
        "Who tells an edge before a DICOM archive today's patients, whose priors it fetches: TITLE@HOST:PORT, or the "
        "ae_title of one of [[peers]]; its own worklist if it is empty.",
    )
    cache_bytes: int = setting(
        SIZE,
        0,
        "Room for what an edge holds; beyond it the frames of whole studies go. 0 takes four fifths of the disk that "
        "is free or holds them.",
        unit="bytes",
    )
    ttl_stat: float = setting(
        DURATION, 24 * 3600.0, "How long after its last use a stat study goes after all that are not fresh."
    )
    ttl_active: float = setting(DURATION, 7 * 24 * 3600.0, "The same for an active study.")
    ttl_routine: float = setting(DURATION, 72 * 3600.0, "The same for a routine study.")
    ttl_archive: float = setting(DURATION, 24 * 3600.0, "The same for an archived study.")
    route: Tables = setting(
        TABLES, (), "Rules that say how urgent a study or request is, tried in order: [[route]] tables."
    )

    @property
    def is_before_archive(self) -> bool:
        """True if an edge's upstream is none of ours."""
        return self.upstream_kind == "dicomweb" or self.dicom_upstream is not None

    @property
    def dicom_upstream(self) -> str | None:
        """The upstream that speaks DICOM's own protocol, without the scheme; None if none does."""
        found = [url for url in self.upstream if url.startswith(DICOM_SCHEME)]
        return unquote(found[0].removeprefix(DICOM_SCHEME)) if found else None
