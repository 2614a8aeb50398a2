"""Sealed packs: append-only files of authenticated records, and the index that follows them (ADR 0004)."""

from __future__ import annotations

from nearframe.storage.packs.intake import PackSettings
from nearframe.storage.packs.store import PackStore

__all__ = ["PackSettings", "PackStore"]
