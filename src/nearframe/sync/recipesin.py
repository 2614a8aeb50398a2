"""Frames that another node sends as recipes: made here, proved, and counted."""

from __future__ import annotations

from typing import Final

from nearframe import log
from nearframe.errors import IntegrityError, RequestError
from nearframe.ids import Digest
from nearframe.metrics import RECIPES_FOLLOWED, RECIPES_REFUSED, RECIPES_SAVED_BYTES
from nearframe.sync.services import SyncServices
from nearframe.units import MIB

#: Of one recipe with its description: longer frames are sent as they are.
MAX_SENT_BYTES: Final = 17 * MIB

_log = log.logger(__name__)


async def follow(services: SyncServices, enc: Digest, sent: bytes) -> bytes | None:
    """Return the frame, or None if it has to be sent as it is."""
    assert services.recipes is not None  # noqa: S101 - who has none refused the request
    try:
        operation, made = await services.recipes.follow(enc, sent)
    except (IntegrityError, RequestError) as error:
        reason = "digest" if isinstance(error, IntegrityError) else "malformed"
        services.metrics.add(RECIPES_REFUSED, operation="sent", reason=reason)
        _log.warning("sent_recipe_refused", error=error)
        return None
    name = operation.name.lower()
    services.metrics.add(RECIPES_FOLLOWED, operation=name)
    services.metrics.add(RECIPES_SAVED_BYTES, max(0, len(made) - len(sent)), operation=name)
    return made
