"""An edge in front of DCMTK's archive."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.peers import free_port
from tests.conformance.dcmqrscp import TITLE, dcmqrscp
from tests.conformance.dcmtk import ask, needs_dcmtk
from tests.integration.edge.pacs.dicompacs import EDGE_TITLE, edge_before
from tests.integration.edge.pacs.test_dicom_pacs import data_set_of, search
from tests.integration.edge.pacs.test_pacs import (
    CT,
    CT_2,
    INSTANCE,
    JSON,
    OPENED,
    SERIES,
    STUDY,
    open_study,
    pixels_of,
    samples,
)

pytestmark = needs_dcmtk


async def stored(port: int, folder: Path) -> None:
    """Have the archive take two instances in."""
    for number, data in enumerate((CT, CT_2)):
        (folder / f"{number}.dcm").write_bytes(data)
        await asyncio.to_thread(ask, "storescu", port, folder / f"{number}.dcm", called=TITLE)


async def given(port: int, folder: Path) -> bytes:
    """Return the data set of an instance as the archive gives it to anybody: it writes anew what it reads."""
    folder.mkdir()
    keys = {"0008,0052": "IMAGE", "0020,000d": STUDY, "0020,000e": SERIES, "0008,0018": INSTANCE}
    asked = [word for key, value in keys.items() for word in ("-k", f"{key}={value}")]
    await asyncio.to_thread(ask, "getscu", port, "-S", "+B", "-od", folder, *asked, called=TITLE)
    (path,) = folder.iterdir()
    return data_set_of(path.read_bytes())


async def test_found_got_and_kept_byte_for_byte(tmp_path: Path) -> None:
    with dcmqrscp(tmp_path / "pacs") as port:
        await stored(port, tmp_path)
        async with edge_before(tmp_path / "edge", f"dicom://{TITLE}@127.0.0.1:{port}") as edge:
            (study,) = await search(edge, "studies?PatientID=1CT1")
            assert study["0020000D"]["Value"] == [STUDY]
            assert len(await open_study(edge)) == 2
            assert data_set_of(await edge.file(STUDY, SERIES, INSTANCE)) == await given(port, tmp_path / "given")


async def test_moved_here(tmp_path: Path) -> None:
    here = free_port()
    with dcmqrscp(tmp_path / "pacs", "--disable-get", peers={EDGE_TITLE: here}) as port:
        await stored(port, tmp_path)
        async with edge_before(tmp_path / "edge", f"dicom://{TITLE}@127.0.0.1:{port}", here) as edge:
            assert len(await open_study(edge)) == 2
            assert await samples(edge) == pixels_of(CT)


async def test_a_destination_that_it_does_not_know(tmp_path: Path) -> None:
    here = free_port()
    with dcmqrscp(tmp_path / "pacs", "--disable-get") as port:
        await stored(port, tmp_path)
        async with edge_before(tmp_path / "edge", f"dicom://{TITLE}@127.0.0.1:{port}", here) as edge:
            answer = await edge.client.get(OPENED, headers=JSON)
            assert answer.status_code == 502
            assert f"[A801]. It is to know {EDGE_TITLE} at 127.0.0.1:{here}" in answer.json()["detail"]
