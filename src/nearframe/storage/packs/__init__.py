"""Sealed packs: append-only files of authenticated records, and the index that follows them (ADR 0004)."""

from __future__ import annotations

from nearframe.storage.packs.compaction import Compacted
from nearframe.storage.packs.intake import PackSettings
from nearframe.storage.packs.scrub import ScrubReport
from nearframe.storage.packs.store import LostContent, PackStats, PackStore

__all__ = ["Compacted", "LostContent", "PackSettings", "PackStats", "PackStore", "ScrubReport"]
