"""An origin's sync routes over HTTP without sockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.routing import Router
from starlette.types import Scope as HTTPScope

from nearframe.context import Context, local_admin
from nearframe.metrics import SYNC_SENT, Metrics
from nearframe.query.contents import LocalContents
from nearframe.query.deltas import Deltas
from nearframe.query.feedwatch import FeedWatch
from nearframe.query.headeredits import Part10Edits
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef
from nearframe.sync.app import sync_routes
from nearframe.sync.services import SyncServices
from nearframe.wire.manifest import Manifest
from nearframe.wire.manifestjson import manifest_from_json
from tests.syncing import STUDY_UID, Shelves, shelves

STUDY = StudyRef("main", STUDY_UID)
URL = f"/api/studies/{STUDY_UID}"


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


class Node:
    """An origin's routes and what they count."""

    def __init__(self, origin: Shelves, workers: Workers) -> None:
        manifests = Manifests(origin.catalogue, workers, 10_000_000)
        self.metrics = Metrics()
        self.context: Context = local_admin()
        self.feed = FeedWatch(origin.catalogue, workers)
        self.services = SyncServices(
            catalogue=origin.catalogue,
            store=origin.store,
            contents=LocalContents(origin.store, workers),
            feed=self.feed,
            manifests=manifests,
            deltas=Deltas(origin.catalogue, origin.store, manifests, Part10Edits(), workers, 1_000_000),
            workers=workers,
            metrics=self.metrics,
            node_name="node-1",
        )

        def gate(_: HTTPScope) -> Context:
            return self.context

        self.app = Router(sync_routes(self.services, gate))
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://origin")

    @property
    def sent(self) -> Counter[str]:
        """What went out, by kind."""
        kinds = ("feed", "manifest", "delta", "header", "frame", "renditions")
        return +Counter({kind: int(self.metrics.value(SYNC_SENT, kind=kind)) for kind in kinds})

    async def manifest(self) -> Manifest:
        response = await self.client.get(f"{URL}/manifest")
        assert response.status_code == 200
        return manifest_from_json(response.json())


@pytest.fixture
async def node(origin: Shelves) -> AsyncIterator[Node]:
    workers = Workers("test", 2)
    made = Node(origin, workers)
    yield made
    await made.client.aclose()
    await made.feed.close()
    workers.close()
