"""The services behind the routes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nearframe.config import Settings
from nearframe.dicom.limits import Limits
from nearframe.dicomweb.address import instance_path
from nearframe.dicomweb.frameservices import FrameServices
from nearframe.dicomweb.frametable import FrameTables
from nearframe.dicomweb.ports import RemoveService, StoreService
from nearframe.query.commitment import CommitmentService
from nearframe.query.freshness import Freshness
from nearframe.query.retrieve_bulkdata import BulkDataService
from nearframe.query.retrieve_instances import InstanceService
from nearframe.query.retrieve_metadata import MetadataService
from nearframe.query.retrieve_rendered import RenderedService
from nearframe.query.search import SearchService
from nearframe.query.searches import Searches
from nearframe.query.workers import Workers
from nearframe.storage.catalogue import SQLCatalogue


@dataclass(frozen=True, slots=True)
class Services(FrameServices):
    """What a node lets its DICOMweb clients do.

    Attributes
    ----------
    cpu
        For work of the routes themselves: XML.
    sql
        For the catalogue.
    store, remove, commitment
        None on a node that only reads.
    dictionaries
        Whether metadata is offered as compression dictionary.
    """

    freshness: Freshness
    searches: Searches
    instances: InstanceService
    frame_tables: FrameTables
    metadata: MetadataService
    bulkdata: BulkDataService
    rendered: RenderedService
    cpu: Workers
    sql: Workers
    store: StoreService | None = None
    remove: RemoveService | None = None
    commitment: CommitmentService | None = None
    dictionaries: bool = False


def services(
    catalogue: SQLCatalogue,
    reading: FrameServices,
    settings: Settings,
    *,
    limits: Limits,
    freshness: Freshness,
    sql: Workers,
    cpu: Workers,
    store: StoreService | None = None,
    remove: RemoveService | None = None,
    commitment: CommitmentService | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Services:
    """Put the services of a node together.

    Parameters
    ----------
    reading
        Those of single frames; the others read through them.
    sql, cpu
        Threads for the catalogue, and for codecs.
    """
    records, contents, frames = reading.records, reading.contents, reading.frames
    picture_bytes = settings.frame_cache_bytes // 4  # the rest is for transcoded frames
    bulkdata = BulkDataService(contents, cpu, limits)
    return Services(
        records=records,
        contents=contents,
        freshness=freshness,
        searches=Searches(SearchService(catalogue, settings.search_limit), sql, freshness),
        instances=InstanceService(contents, frames, cpu, limits),
        frames=frames,
        frame_tables=FrameTables(records, frames, cpu, monotonic),
        metadata=MetadataService(
            catalogue, sql, cpu, freshness, link=instance_path, cache_bytes=settings.metadata_cache_bytes
        ),
        bulkdata=bulkdata,
        rendered=RenderedService(catalogue, contents, bulkdata, sql, cpu, cache_bytes=picture_bytes),
        cpu=cpu,
        sql=sql,
        store=store,
        remove=remove,
        commitment=commitment,
        dictionaries=settings.dictionaries,
    )
