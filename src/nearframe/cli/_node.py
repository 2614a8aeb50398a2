"""Running a node: settings, signals, one line that says where it answers."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import uvloop
from starlette.types import ASGIApp

from nearframe import log
from nearframe.cli._output import Subparsers, add_parser
from nearframe.cli._settings import add_settings, settings_from
from nearframe.config import Settings
from nearframe.listener import serve, tune_allocator
from nearframe.listener.server import require_insecure_loopback
from nearframe.metrics import Metrics

#: Opens a node: what it answers, and its metrics. It says what else of it can be reached where.
Opener = Callable[[Settings, Callable[[str], None]], AbstractAsyncContextManager[tuple[ASGIApp, Metrics]]]


def add_node_parser(
    subparsers: Subparsers, role: str, what: str, groups: tuple[str, ...], opener: Opener
) -> argparse.ArgumentParser:
    """Add the command that runs a node of one role until it is told to stop."""
    parser = add_parser(subparsers, role, what)
    add_settings(parser, groups)
    parser.set_defaults(run=lambda options: _run(role, settings_from(options), opener))
    return parser


def _run(role: str, settings: Settings, opener: Opener) -> int:
    require_insecure_loopback(settings)
    # Python's threshold of 700 sets off a tenth of what importing a node costs, and several
    # collections for an object taken in: a request makes hundreds of objects and hardly a cycle.
    gc.set_threshold(20_000, 20, 20)
    log.configure(settings.log_level, settings.log_format)
    tune_allocator()
    uvloop.run(_serve(role, settings, opener))
    return 0


async def _serve(role: str, settings: Settings, opener: Opener) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    announcement = _Announcement(role)
    async with opener(settings, announcement.add) as (app, metrics):
        # What stays anyway is left out of every collection. Collecting first would find some forty
        # objects, and take 30 ms of the time to the first frame.
        gc.freeze()
        await serve(app, settings, metrics, ready=announcement.ready, stop=stop)


class _Announcement:
    """The line that says where a node answers; what is ready later has one of its own."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._others = ""
        self._is_ready = False

    def add(self, what: str) -> None:
        if self._is_ready:
            print(f"nearframe {self._role}: {what}", flush=True)
        else:
            self._others += f", {what}"

    def ready(self, url: str) -> None:
        self._is_ready = True
        print(
            f"nearframe {self._role} answers at {url}/ (DICOMweb below {url}/dicomweb){self._others}",
            flush=True,
        )
