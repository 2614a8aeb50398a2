"""The Modality Worklist, as DCMTK's ``findscu -W`` finds it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.integration.dimse.test_workflow import ORDER, archive

FINDSCU = Path("/usr/bin/findscu")  # other software installs commands of this name
pytestmark = pytest.mark.skipif(not FINDSCU.exists(), reason="needs DCMTK")


async def found(port: int, *keys: str) -> str:
    asked = [part for key in ("PatientID", *keys) for part in ("-k", key)]
    process = await asyncio.create_subprocess_exec(
        FINDSCU, "-W", "-aec", "NEARFRAME", *asked, "127.0.0.1", str(port),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, output
    return output.decode()


async def test_a_scanner_finds_what_is_ordered_for_it(tmp_path: Path) -> None:
    step = "ScheduledProcedureStepSequence[0]"
    async with archive(tmp_path / "home") as site:
        await site.client.post("/api/worklist", json=ORDER)
        dates = f"{step}.ScheduledProcedureStepStartDate=20261101-20261130"
        assert "[P-1 ]" in await found(site.port, f"{step}.Modality=CT", dates)
        assert "[P-1 ]" in await found(site.port, "PatientName=test*", step)
        assert "[P-1 ]" not in await found(site.port, f"{step}.Modality=MR", dates)
        assert "[P-1 ]" not in await found(site.port, f"{step}.ScheduledProcedureStepStartDate=20261201-")
