"""An edge that serves frames: what the rest of it is put together from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nearframe.core import Core
from nearframe.dicomweb.frameservices import FrameServices
from nearframe.edge.node import Edge
from nearframe.edge.outbox import Outbox
from nearframe.edge.urgency import UrgencyGate
from nearframe.intake.inuse import StudiesInUse
from nearframe.query.feedwatch import FeedWatch
from nearframe.sync.directory import Directory


class Opened(NamedTuple):
    """The parts of an edge that are open before its routes are.

    Attributes
    ----------
    announce
        Told what else than HTTP it can be reached by, and where.
    """

    core: Core
    edge: Edge
    gate: UrgencyGate
    frames: FrameServices
    directory: Directory
    feed: FeedWatch
    outbox: Outbox
    in_use: StudiesInUse
    announce: Callable[[str], None]
