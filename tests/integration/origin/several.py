"""An archive that several origins of this process serve: one PostgreSQL catalogue, one store of contents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nearframe.app import open_origin
from nearframe.config import Settings
from nearframe.listener import serve
from nearframe.metrics import Metrics
from nearframe.settingkinds import Address
from nearframe.storage.packs import PackSettings, PackStore
from tests.integration.edge.nodes import Node, serving, settings


class SharedStore(PackStore):
    """Contents that every origin of this process reaches; it outlives each of them."""

    def close(self) -> None:
        pass

    def close_for_good(self) -> None:
        super().close()


class Archive:
    """An archive and the origins that serve it."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder
        self._database_url = database_url
        self._store = SharedStore(folder / "contents", PackSettings(reserve_bytes=0))

    @asynccontextmanager
    async def origin(self, name: str, **more: Any) -> AsyncIterator[Node]:
        """Run an origin."""
        async with (
            open_origin(self._settings(name, **more), open_store=self._open_store) as (app, metrics),
            serving(app, metrics) as node,
        ):
            yield node

    async def serve(self, name: str, port: int, ready: asyncio.Event, stop: asyncio.Event) -> None:
        """Run an origin at a port, as its command does, until it is told to stop."""
        own = self._settings(name, http=Address("127.0.0.1", port))
        async with open_origin(own, open_store=self._open_store) as (app, metrics):
            await serve(app, own, metrics, ready=lambda url: ready.set(), stop=stop)

    def close(self) -> None:
        self._store.close_for_good()

    def _settings(self, name: str, **more: Any) -> Settings:
        return settings(self._folder / name, database_url=self._database_url, name=name, **more)

    def _open_store(self, own: Settings, sizes: PackSettings, metrics: Metrics) -> PackStore:
        return self._store
