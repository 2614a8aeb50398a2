"""An archive carried into PostgreSQL, and its contents into a bucket, while its node serves.

The node is stopped by whoever runs this, once it says that it has caught up: it then owns the home,
so that no node starts, carries what came last, and puts the catalogue it read aside, so that none
starts from it by mistake either. From stop to end it takes as long as one comparison of the catalogue.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from nearframe.clock import SystemClock
from nearframe.config import Settings
from nearframe.errors import ConfigurationError, UpstreamUnavailable
from nearframe.storage.catalogue import CATALOGUE_FILE, SQLCatalogue
from nearframe.storage.catalogue.catalogue import open_database
from nearframe.storage.catalogue.conversion import Conversion, Pass
from nearframe.storage.catalogue.database import Database
from nearframe.storage.durable import sync_folder
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.packs.keys import read_root_key, write_root_key
from nearframe.storage.packs.locks import is_owned, own
from nearframe.storage.ports import ContentStore
from nearframe.storage.stores import open_store
from nearframe.upkeep.carrying import Carried, Carrier, StoreCopies
from nearframe.upkeep.repair import Copies

#: What was carried over is kept under this name, for who wants to go back.
MOVED_FILE: Final = "catalogue.moved.sqlite"
#: While the node runs: between looks whether it stopped, and the share of the time that comparing may take.
_LOOK_S: Final = 0.5
_PAUSES: Final = 4


@dataclass(frozen=True, slots=True)
class Converted:
    """What was carried over.

    Attributes
    ----------
    rows
        Of the catalogue: each was compared, and equal, in the last pass.
    passes
        Comparisons that it took.
    contents, content_bytes
        That were carried; none where contents stay.
    switch_s
        For how long no node could have served: from its stop to the end.
    """

    rows: int
    passes: int
    contents: int
    content_bytes: int
    switch_s: float


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told how it goes.

    Attributes
    ----------
    progress
        What is looked at, how much of it is done, and how much there is.
    caught_up
        The copy is as the archive was a moment ago: the node can be stopped.
    """

    progress: Callable[[str, int, int], None] = lambda *_: None
    caught_up: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Contents:
    """Where contents go.

    Attributes
    ----------
    open_target
        Opens the store that they go to.
    node
        The running node, as somebody to have them from.
    """

    open_target: Callable[[], AbstractContextManager[ContentStore]]
    node: Copies


def convert(home: Path, url: str, watcher: Watcher, contents: Contents | None = None) -> Converted:
    """Carry an archive over; waits for its node to be stopped. Without `contents` they stay where they are.

    Raises
    ------
    ConfigurationError
        If there is no catalogue, or no place for it.
    BackendFailed
        If a content cannot be read where it is.
    """
    path = home / CATALOGUE_FILE
    if not path.is_file():
        raise ConfigurationError(f"--home {home}: no catalogue is there")
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_database(path)))
        target = stack.enter_context(closing(open_database(url)))
        conversion = Conversion(source, target, watcher.progress)
        conversion.begin(datetime.now(UTC))
        carrier = None
        if contents is not None:
            store = stack.enter_context(contents.open_target())
            carrier = Carrier(SQLCatalogue(source, SystemClock()), store, watcher.progress)
        passes = _follow(home, conversion, partial(_carry, carrier, contents), watcher)
        stopped_s = time.monotonic()
        if carrier is None:
            stack.callback(os.close, own(home))
        else:
            carrier.carry(StoreCopies(stack.enter_context(PackStore(home))))  # which owns the home
        last = _settle(conversion)
        conversion.finish(datetime.now(UTC))
        _put_aside(home, source)
        done = carrier.done if carrier is not None else Carried()
        return Converted(
            last[-1].rows, passes + len(last), done.contents, done.size_bytes, time.monotonic() - stopped_s
        )


@contextmanager
def bucket_beside(settings: Settings) -> Iterator[ContentStore]:
    """Open the bucket that an archive goes to, beside its node: as another origin, which has a home of its own."""
    keys = Path("keys", "root.key")
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="carrying-") as folder:
        write_root_key(Path(folder) / keys, read_root_key(settings.home / keys))
        with closing(open_store(replace(settings, home=Path(folder), s3_cache_bytes=0), PackSettings())) as store:
            yield store


def _carry(carrier: Carrier | None, contents: Contents | None) -> None:
    if carrier is not None and contents is not None:
        carrier.carry(contents.node)


def _follow(home: Path, conversion: Conversion, carry_contents: Callable[[], object], watcher: Watcher) -> int:
    """Carry and compare again and again while the node runs; return how often."""
    passes = 0
    is_told = False
    while is_owned(home):
        began_s = time.monotonic()
        with suppress(UpstreamUnavailable):  # it was just stopped
            carry_contents()
        found = conversion.carry()
        took_s = time.monotonic() - began_s
        passes += 1
        if not is_told and (passes > 1 or found.found_nothing):
            watcher.caught_up()
            is_told = True
        until_s = time.monotonic() + _PAUSES * took_s
        while is_told and is_owned(home) and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
    return passes


def _settle(conversion: Conversion) -> list[Pass]:
    passes = [conversion.carry()]
    while not passes[-1].found_nothing:
        passes.append(conversion.carry())
    return passes


def _put_aside(home: Path, source: Database) -> None:
    source.close()  # SQLite's own: the last connection takes the log into the file
    (home / CATALOGUE_FILE).rename(home / MOVED_FILE)
    sync_folder(home)
