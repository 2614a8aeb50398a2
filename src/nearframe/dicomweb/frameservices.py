"""The services behind single frames: what a node has first when it starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nearframe.config import Settings
from nearframe.query.contents import ContentReader
from nearframe.query.freshness import Freshness
from nearframe.query.records import InstanceRecords
from nearframe.query.retrieve_frames import FrameService
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue


@dataclass(frozen=True, slots=True)
class FrameServices:
    """Which instances there are, what they consist of, and their frames in the encoding a reader asks for."""

    records: InstanceRecords
    contents: ContentReader
    frames: FrameService


def frame_services(
    catalogue: Catalogue,
    contents: ContentReader,
    settings: Settings,
    *,
    freshness: Freshness,
    sql: Workers,
    cpu: Workers,
    monotonic: Callable[[], float] = time.monotonic,
) -> FrameServices:
    """Put the services of single frames together.

    Parameters
    ----------
    contents
        Where contents come from: the node's own store, or another node.
    sql, cpu
        Threads for the catalogue, and for codecs.
    """
    # Transcoded frames are asked for by viewers that page back and forth; pictures by lists of studies.
    frame_bytes = settings.frame_cache_bytes * 3 // 4
    records = InstanceRecords(catalogue, sql, freshness, settings.record_cache_entries)
    return FrameServices(
        records=records,
        contents=contents,
        frames=FrameService(
            catalogue, contents, sql, cpu, cache_bytes=frame_bytes, beside=records.beside, monotonic=monotonic
        ),
    )
