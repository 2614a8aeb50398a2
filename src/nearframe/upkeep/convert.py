"""An archive carried into PostgreSQL, and its contents into a bucket, while its node serves.

::

    carry    as often as one likes: what the node has goes along, and nothing changes for it
    switch   once more, and this time the node's write transaction is held until the copy is proved. It reads on,
             and answers who stores with *send again*; so it goes on until origins serve what was made, and clients
             were sent there. Then it is stopped, with nobody asking it

Without a node that runs both do the same: this then owns the home, so that none starts.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from nearframe.clock import SystemClock
from nearframe.config import Settings
from nearframe.errors import ConfigurationError
from nearframe.storage.catalogue import CATALOGUE_FILE, SQLCatalogue
from nearframe.storage.catalogue.catalogue import open_database
from nearframe.storage.catalogue.conversion import Conversion, Pass
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.packs.keys import read_root_key, write_root_key
from nearframe.storage.packs.locks import is_owned, own
from nearframe.storage.stores import Store, open_store
from nearframe.upkeep.carrying import Carried, Carrier, StoreCopies
from nearframe.upkeep.repair import Copies

#: Told what is looked at, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]
#: Without a switch: what comes while the first goes on, which may take hours, comes with the second.
_PASSES: Final = 2


@dataclass(frozen=True, slots=True)
class Converted:
    """What was carried over.

    Attributes
    ----------
    rows
        Of the catalogue, compared in the last pass; after a switch each was equal.
    passes
        Comparisons that it took.
    carried
        Of the contents; nothing where they stay.
    switched
        The archive is what was made.
    refusing_s
        For how long the node had refused to store when this ended; it does until it is stopped.
    """

    rows: int
    passes: int
    carried: Carried
    switched: bool
    refusing_s: float


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

    open_target: Callable[[], AbstractContextManager[Store]]
    node: Copies


def convert(
    home: Path,
    url: str,
    progress: Progress = lambda *_: None,
    contents: Contents | None = None,
    *,
    switch: bool,
) -> Converted:
    """Carry an archive over. Without `contents` they stay where they are.

    Parameters
    ----------
    switch
        Make the copy the archive: from then on nothing is written where it was.

    Raises
    ------
    ConfigurationError
        If there is no catalogue, or no place for it.
    BackendFailed
        If a content cannot be read where it is.
    UpstreamUnavailable
        If the node stops meanwhile.
    Busy
        If the node does not let the switch begin.
    """
    path = home / CATALOGUE_FILE
    if not path.is_file():
        raise ConfigurationError(f"--home {home}: no catalogue is there")
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_database(path)))
        target = stack.enter_context(closing(open_database(url)))
        conversion = Conversion(source, target, progress)
        conversion.begin(datetime.now(UTC))
        carrier = None
        if contents is not None:
            copies = _copies(home, contents, stack)
            target_store = stack.enter_context(contents.open_target())
            carrier = Carrier(SQLCatalogue(source, SystemClock()), target_store, copies, progress)
        elif not is_owned(home):
            stack.callback(os.close, own(home))

        def carry() -> Pass:
            if carrier is not None:
                carrier.carry()
            return conversion.carry()

        passes = [carry() for _ in range(1 if switch else _PASSES)]
        refusing_since_s = time.monotonic()
        if switch:
            passes += conversion.move(carry, datetime.now(UTC))
        refusing_s = time.monotonic() - refusing_since_s if switch else 0.0
        done = carrier.done if carrier is not None else Carried()
        return Converted(passes[-1].rows, len(passes), done, switch, refusing_s)


@contextmanager
def bucket_beside(settings: Settings) -> Iterator[Store]:
    """Open the bucket that an archive goes to, beside its node: as another origin, which has a home of its own."""
    keys = Path("keys", "root.key")
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="carrying-") as folder:
        write_root_key(Path(folder) / keys, read_root_key(settings.home / keys))
        with closing(open_store(replace(settings, home=Path(folder), s3_cache_bytes=0), PackSettings())) as store:
            yield store


def _copies(home: Path, contents: Contents, stack: ExitStack) -> Copies:
    """Return who gives the contents: the node, or the home itself, in which none starts until the end."""
    return contents.node if is_owned(home) else StoreCopies(stack.enter_context(PackStore(home)))
