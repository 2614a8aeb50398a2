"""Run an application on a loopback port of the system's choice: for tests and benchmarks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from nearframe.listener.server import Listener, TLSFiles
from nearframe.metrics import Metrics
from nearframe.settingkinds import Address


@asynccontextmanager
async def running(
    app: ASGIApp,
    *,
    tls: TLSFiles | None = None,
    metrics: Metrics | None = None,
    hosts: Collection[str] | None = None,
    grace_s: float = 1.0,
    port: int = 0,
) -> AsyncIterator[str]:
    """Serve `app` while the block runs; the value is its base URL, as ``http://127.0.0.1:54321``."""
    listener = Listener(app, Address("127.0.0.1", port), metrics=metrics or Metrics(), tls=tls, hosts=hosts)
    await listener.start()
    try:
        yield listener.url
    finally:
        await listener.stop(grace_s)
