"""What an archive does with what it keeps, as part of a node: corrections, legal holds, retention, purges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.routing import Route

from nearframe import log, tasks
from nearframe.core import Core
from nearframe.corrections.holding import HoldService
from nearframe.corrections.holds_http import DESCRIBED as HOLDS_DESCRIBED
from nearframe.corrections.holds_http import hold_routes
from nearframe.corrections.http import DESCRIBED as CORRECTIONS_DESCRIBED
from nearframe.corrections.http import correction_routes
from nearframe.corrections.service import CorrectionService
from nearframe.dicomweb.address import Addresses
from nearframe.errors import NearframeError
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.catalogue.expiring import Expiring
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.catalogue.purging import Purging
from nearframe.sync.services import TakesIn
from nearframe.upkeep.doctor.http import DESCRIBED as DOCTOR_DESCRIBED
from nearframe.upkeep.doctor.http import SelfExamination, doctor_routes
from nearframe.upkeep.purge import Purger
from nearframe.upkeep.purge_http import DESCRIBED as PURGE_DESCRIBED
from nearframe.upkeep.purge_http import purge_round, purge_routes
from nearframe.upkeep.retention.http import DESCRIBED as RETENTION_DESCRIBED
from nearframe.upkeep.retention.http import retention_round, retention_routes
from nearframe.upkeep.retention.rules import read_rules
from nearframe.upkeep.retention.service import RetentionService
from nearframe.upkeep.storeholds import StoreHolds

DESCRIBED: Final = (
    *CORRECTIONS_DESCRIBED,
    *HOLDS_DESCRIBED,
    *RETENTION_DESCRIBED,
    *PURGE_DESCRIBED,
    *DOCTOR_DESCRIBED,
)

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What corrects, with its record, and the routes by which people look after what is kept."""

    correcting: CorrectionService
    corrections: Corrections
    routes: list[Route]


def open_keeping(core: Core, takes: TakesIn, on_made: Callable[[], None]) -> Keeping:
    """Put it together, and have purges and retention come round.

    Parameters
    ----------
    on_made
        Called once a correction is recorded. Must not block.
    """
    settings, addresses = core.settings, Addresses(core.settings)
    corrections, holds, purging = Corrections(core.catalogue), Holds(core.catalogue), Purging(core.catalogue)
    store_holds = StoreHolds(holds, core.packs)
    holding = HoldService(holds, corrections, on_changed=store_holds.follow)
    if core.packs.is_remote:
        core.upkeep.add(store_holds.round())
        core.catalogue.on_kept = _soon(core, store_holds.follow_all)
    correcting = CorrectionService(
        core.packs,
        core.catalogue,
        corrections,
        core.freshness,
        core.metrics,
        limits=core.limits,
        in_use=takes.ingest.in_use,
        on_made=on_made,
        on_vain=purging.doubt,
    )
    with settings.reading("retention"):
        retention = RetentionService(read_rules(settings.retention), Expiring(core.catalogue), correcting)
    grace = timedelta(days=settings.purge_days) if settings.purge_days else None
    in_use = takes.ingest.in_use
    mine = core.upkeep.is_mine
    purger = Purger(purging, holds, core.packs, in_use, core.freshness, core.metrics, grace=grace, may_erase=mine)
    core.upkeep.add(retention_round(retention))
    core.upkeep.add(purge_round(purger, core.upkeep))
    routes = [
        *correction_routes(correcting, core.sync, core.gate, addresses),
        *hold_routes(holding, core.sql, core.gate, addresses),
        *retention_routes(retention, core.sync, core.gate, addresses),
        *purge_routes(purger, core.upkeep, core.sync, core.gate, addresses),
        *doctor_routes(SelfExamination(settings, "origin"), core.disk, core.gate),
    ]
    return Keeping(correcting, corrections, routes)


def _soon(core: Core, follow: Callable[[], int]) -> Callable[[], object]:
    """Return what has holds of the store followed up, from any thread: not behind a scrub, which may take a day."""
    loop = asyncio.get_running_loop()

    async def run() -> None:
        try:
            await core.sync.run(follow)
        except NearframeError as error:  # the round does it
            _log.warning("store_holds_wait", error=error)

    return lambda: loop.call_soon_threadsafe(lambda: tasks.spawn(run(), name="follow holds"))
