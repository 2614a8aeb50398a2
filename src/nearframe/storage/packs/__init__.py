"""Sealed packs: append-only files of authenticated records, and the index that follows them (ADR 0004)."""

from __future__ import annotations

from nearframe.storage.packs.store import PackSettings, PackStats, PackStore

__all__ = ["PackSettings", "PackStats", "PackStore"]
