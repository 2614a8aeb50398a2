"""DICOM associations as part of a node: its services, behind the listener that the settings name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from nearframe import log
from nearframe.context import local_admin
from nearframe.core import Core
from nearframe.dicomweb.services import Services
from nearframe.dimse.service import Served, open_service
from nearframe.errors import ConfigurationError
from nearframe.listener.address import is_loopback
from nearframe.query.search import SearchService
from nearframe.sync.services import TakesIn

_log = log.logger(__name__)


@asynccontextmanager
async def open_dicom(
    core: Core, services: Services, takes: TakesIn | None, announce: Callable[[str], None]
) -> AsyncIterator[None]:
    """Listen for DICOM associations, if the settings say where.

    Parameters
    ----------
    announce
        Told where, in words, once that is so.
    """
    settings = core.settings
    if settings.dicom is None:
        yield
        return
    if not is_loopback(settings.dicom):
        raise ConfigurationError(
            f"--dicom {settings.dicom} is reachable from other machines, and there is no access control yet: "
            "use 127.0.0.1, [::1] or localhost"
        )
    served = Served(
        SearchService(core.catalogue, settings.search_limit),
        services.records,
        services.instances,
        core.sql,
        core.freshness,
        takes.spool if takes else None,
        takes.ingest if takes else None,
    )
    # Until custody lands: whoever associates is a process of this machine.
    server = open_service(settings, served, core.metrics, lambda session: local_admin(settings.tenant))
    await server.start(settings.dicom)
    _log.info("dicom_listening", address=str(server.address), ae_title=settings.ae_title)
    announce(f"DICOM at {server.address} as {settings.ae_title}")
    try:
        yield
    finally:
        await server.stop()
