"""Settings of the node as such."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nearframe.config.declaring import setting
from nearframe.settingkinds import DATABASE_URL, PATH, TEXT, choice


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """What a node is: its folder, its catalogue, its log."""

    GROUP: ClassVar = "node"

    home: Path = setting(PATH, Path("nearframe-home"), "Folder that holds everything this node keeps.")
    tenant: str = setting(TEXT, "main", "Tenant that unauthenticated requests belong to.")
    database_url: str = setting(
        DATABASE_URL,
        "",
        "Catalogue in PostgreSQL (postgresql://user@host/database); empty means SQLite in the home folder.",
        secret=True,
    )
    log_level: str = setting(
        choice("debug", "info", "warning", "error"), "info", "Least severe messages that are logged."
    )
    log_format: str = setting(choice("text", "json"), "text", "Log lines as key=value text or as JSON.")
