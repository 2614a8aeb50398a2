"""What depends on what the archive speaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starlette.routing import BaseRoute

from nearframe.dicomweb.endpoint import Beside
from nearframe.dicomweb.services import Services
from nearframe.edge.pacs.passing import Passing
from nearframe.query.health import Check


@dataclass(frozen=True, slots=True)
class Parts:
    """What such an edge answers with.

    Attributes
    ----------
    passing
        Passes requests on; None to an archive that speaks no DICOMweb.
    routes, described
        What is answered besides, and how the API's description tells of it.
    checks
        Of its health.
    """

    services: Services
    passing: Passing | None = None
    routes: Sequence[BaseRoute] = ()
    described: Sequence[Beside] = ()
    checks: Mapping[str, Check] = field(default_factory=dict)
