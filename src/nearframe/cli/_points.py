"""Backups as they are listed."""

from __future__ import annotations

from typing import Any

from nearframe.upkeep.backup.point import Point


def point_json(point: Point) -> dict[str, Any]:
    """Return what a backup is, for programs."""
    return {
        "name": point.name,
        "taken_at": point.taken_at.isoformat(),
        "release": point.release,
        "studies": point.holds.studies,
        "instances": point.holds.instances,
        "packs": len(point.packs),
        "bytes": point.length,
    }
