"""The services behind the routes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nearframe.config import Settings
from nearframe.dicom.limits import Limits
from nearframe.dicomweb.address import instance_path
from nearframe.dicomweb.frametable import FrameTables
from nearframe.dicomweb.ports import RemoveService, StoreService
from nearframe.query.contents import ContentReader
from nearframe.query.freshness import Freshness
from nearframe.query.records import InstanceRecords
from nearframe.query.retrieve_bulkdata import BulkDataService
from nearframe.query.retrieve_frames import FrameService
from nearframe.query.retrieve_instances import InstanceService
from nearframe.query.retrieve_metadata import MetadataService
from nearframe.query.retrieve_rendered import RenderedService
from nearframe.query.search import SearchService
from nearframe.query.searches import Searches
from nearframe.query.workers import Workers
from nearframe.storage.catalogue import SQLCatalogue


@dataclass(frozen=True, slots=True)
class Services:
    """What a node lets its DICOMweb clients do.

    Attributes
    ----------
    cpu
        For work of the routes themselves: XML.
    store, remove
        None on a node that only reads.
    dictionaries
        Whether metadata is offered as compression dictionary.
    """

    records: InstanceRecords
    contents: ContentReader
    freshness: Freshness
    searches: Searches
    instances: InstanceService
    frames: FrameService
    frame_tables: FrameTables
    metadata: MetadataService
    bulkdata: BulkDataService
    rendered: RenderedService
    cpu: Workers
    store: StoreService | None = None
    remove: RemoveService | None = None
    dictionaries: bool = False


def services(
    catalogue: SQLCatalogue,
    contents: ContentReader,
    settings: Settings,
    *,
    limits: Limits,
    freshness: Freshness,
    sql: Workers,
    cpu: Workers,
    store: StoreService | None = None,
    remove: RemoveService | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Services:
    """Put the services of a node together.

    Parameters
    ----------
    contents
        Where contents come from: the node's own store, or another node.
    sql, cpu
        Threads for the catalogue, and for codecs.
    """
    # Transcoded frames are asked for by viewers that page back and forth; pictures by lists of studies.
    frame_bytes, picture_bytes = settings.frame_cache_bytes * 3 // 4, settings.frame_cache_bytes // 4
    frames = FrameService(catalogue, contents, sql, cpu, cache_bytes=frame_bytes, monotonic=monotonic)
    records = InstanceRecords(catalogue, sql, freshness, settings.record_cache_entries)
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
        store=store,
        remove=remove,
        dictionaries=settings.dictionaries,
    )
