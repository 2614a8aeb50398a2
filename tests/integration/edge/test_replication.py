"""A corrected re-send moves no pixels: counted, over real sockets."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pydicom

from tests.integration.edge.nodes import edge_node, origin_node, until_shows
from tests.syncing import STUDY_UID, ct_series, rename

SERIES_UID = f"{STUDY_UID}.1"


def instance_uid(file: bytes) -> str:
    return str(pydicom.dcmread(io.BytesIO(file), specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


async def test_metadata_edit_moves_no_pixels(tmp_path: Path) -> None:
    before, after = ct_series(20), ct_series(20, change=rename("Doe^Janet"))
    async with origin_node(tmp_path / "origin") as origin, edge_node(tmp_path / "edge", origin.url) as edge:
        await origin.store(before)
        await until_shows(edge, STUDY_UID, 20, "Doe^Jane")
        for file in before:
            assert await edge.file(STUDY_UID, SERIES_UID, instance_uid(file)) == file
        moved = origin.sent()
        await origin.store(after)
        await until_shows(edge, STUDY_UID, 20, "Doe^Janet")
        assert origin.sent() - moved == Counter(delta=1, frame=0)
        for file in after:
            assert await edge.file(STUDY_UID, SERIES_UID, instance_uid(file)) == file
        assert origin.sent() - moved == Counter(delta=1, frame=0)
