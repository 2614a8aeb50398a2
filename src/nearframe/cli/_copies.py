"""Where a command finds contents that were lost, and the catalogue that knows of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from nearframe.cli._client import client_of
from nearframe.cli._vaults import open_vault
from nearframe.config import Settings
from nearframe.errors import ConfigurationError
from nearframe.storage.catalogue import CATALOGUE_FILE, SQLCatalogue, open_catalogue
from nearframe.storage.packs.keys import read_root_key
from nearframe.storage.role import role_of
from nearframe.upkeep.backup.copies import BackupCopies
from nearframe.upkeep.backup.point import PointKeys
from nearframe.upkeep.backup.points import Points
from nearframe.upkeep.nodes import NodeCopies
from nearframe.upkeep.repair import Copies


@contextmanager
def copies_of(
    options: argparse.Namespace, settings: Settings, root_key: Path | None, scratch: Path
) -> Iterator[Copies | None]:
    """Open what ``--repair-from`` names: a node, or a folder of backups; None if it is not given.

    Raises
    ------
    ConfigurationError
        If it is neither, or there is no root key that opens the backups.
    """
    place: str | None = options.repair_from
    if place is None:
        yield None
        return
    if place.startswith(("http://", "https://")):
        with client_of(options, place) as client:
            yield NodeCopies(client, scratch)
        return
    if root_key is None:
        raise ConfigurationError("--repair-from a folder of backups needs --root-key, which opens them")
    key = read_root_key(root_key)
    with open_vault(place, settings) as vault:
        points = Points(vault, PointKeys(key))
        points.at(None)  # says now if there is none, or of another archive: before everything is read
        yield BackupCopies(points, key)


@contextmanager
def catalogue_in(settings: Settings) -> Iterator[SQLCatalogue | None]:
    """Open an archive's catalogue; None if there is none, or it is an edge's, which need not hold all it speaks of."""
    where = settings.database_url or settings.home / CATALOGUE_FILE
    if role_of(settings.home) != "origin" or (isinstance(where, Path) and not where.exists()):
        yield None
        return
    with closing(open_catalogue(where, may_create=False)) as catalogue:
        yield catalogue
