"""A node that ends by SIGKILL at a named step: ``python -m tests.drills.dying STEP before|after ROLE OPTION...``."""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from nearframe.cli import main

#: Name of the step, and where it is.
STEPS: Final = {
    "appended": "nearframe.storage.packs.store:PackStore.append",
    "contents synced": "nearframe.storage.packs.store:PackStore.sync",
    "recorded": "nearframe.storage.catalogue.catalogue:SQLCatalogue.record_decided",
    "absorbed": "nearframe.edge.outbox:Outbox._take",
    "passed": "nearframe.storage.catalogue.catalogue:SQLCatalogue.acknowledge",
    "packed": "nearframe.edge.packing:Packer.pack",
    "offered": "nearframe.edge.upstream:Upstream.offer",
    "sent": "nearframe.edge.upstream:Upstream.send",
    "noted sent": "nearframe.edge.outbox:Outbox.sent",
    "noted verified": "nearframe.edge.outbox:Outbox.verified",
    "compared": "nearframe.storage.catalogue.catalogue:SQLCatalogue.replicate",
    "handed over": "nearframe.edge.outbox:Outbox.handed_over",
}
#: What an upstream does with what it is offered and sent.
AT_THE_ORIGIN: Final = ("appended", "contents synced", "recorded")


def arm(place: str, when: str) -> None:
    """Have this process end where a function is called the first time, or where it has returned."""
    module, _, path = place.partition(":")
    owner_name, name = path.split(".")
    owner = getattr(importlib.import_module(module), owner_name)
    setattr(owner, name, _dying(getattr(owner, name), when))


def _dying(step: Callable[..., Any], when: str) -> Callable[..., Any]:
    @wraps(step)
    async def eventually(*given: Any, **named: Any) -> Any:
        if when == "before":
            _die()
        await step(*given, **named)
        _die()

    @wraps(step)
    def at_once(*given: Any, **named: Any) -> Any:
        if when == "before":
            _die()
        step(*given, **named)
        _die()

    return eventually if inspect.iscoroutinefunction(step) else at_once


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    arm(STEPS[sys.argv[1]], sys.argv[2])
    sys.exit(main(sys.argv[3:]))
