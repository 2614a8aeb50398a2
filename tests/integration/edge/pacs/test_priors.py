"""What an edge brings before anybody asks, from an archive that speaks DICOM's own protocol alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pydicom
import pytest

from bench.peers import has_orthanc
from nearframe.edge.pacs import priors
from nearframe.metrics import PACS_INSTANCES, PACS_PREFETCHED
from tests.conformance.dcmtk import needs_dcmtk, wlmscpfs
from tests.integration.edge.nodes import until
from tests.integration.edge.pacs.dicompacs import DicomPacs, edge_before, running_pacs
from tests.integration.edge.pacs.test_dicom_pacs import MR
from tests.integration.edge.pacs.test_pacs import CT, INSTANCE, STUDY, edited, open_study

pytestmark = pytest.mark.skipif(not has_orthanc(), reason="no Orthanc")

#: Of the same patient: three earlier studies, the newest of them of another kind.
PRIORS = [
    edited(CT, StudyInstanceUID=f"{STUDY}.{n}", SOPInstanceUID=f"{INSTANCE}.{n}", StudyDate=date, Modality=modality)
    for n, (date, modality) in enumerate([("20010101", "CT"), ("20020101", "CT"), ("20030101", "US")], start=1)
]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DicomPacs]:
    with running_pacs(tmp_path_factory.mktemp("orthanc")) as pacs:
        pacs.store(CT, MR, *PRIORS)
        yield pacs


async def test_priors_of_what_is_opened(pacs: DicomPacs, tmp_path: Path) -> None:
    async with edge_before(tmp_path / "edge", pacs.url, prior_studies=2) as edge:
        await open_study(edge)
        await until(lambda: edge.metrics.value(PACS_PREFETCHED, why="prior") == 2)
        assert edge.metrics.value(PACS_INSTANCES) == 3
        for number, is_here in ((1, True), (2, True), (3, False)):
            answer = await edge.client.get(f"/dicomweb/studies/{STUDY}.{number}/series")
            assert ("age" in answer.headers) is is_here, "those of the same kind first"


def order(patient: str) -> pydicom.Dataset:
    """Return an order for today."""
    step = pydicom.Dataset()
    step.ScheduledProcedureStepID, step.Modality, step.ScheduledStationAETitle = "S1", "CT", "CT1"
    step.ScheduledProcedureStepStartDate = datetime.now().astimezone().strftime("%Y%m%d")
    step.ScheduledProcedureStepStartTime = "235900"
    item = pydicom.Dataset()
    item.SpecificCharacterSet = "ISO_IR 100"
    item.PatientID, item.PatientName, item.AccessionNumber = patient, "Doe^Jane", "A1"
    item.PatientBirthDate, item.PatientSex, item.StudyInstanceUID = "19700101", "F", "1.2.3.4"
    item.RequestedProcedureID, item.RequestedProcedureDescription = "P1", "CT"
    item.ScheduledProcedureStepSequence = [step]
    return item


@needs_dcmtk
async def test_priors_of_todays_patients_by_a_worklist(pacs: DicomPacs, tmp_path: Path) -> None:
    with wlmscpfs(tmp_path / "wl", "RIS", order("1CT1")) as port:
        ris = f"RIS@127.0.0.1:{port}"
        async with edge_before(tmp_path / "edge", pacs.url, prior_studies=9, push="today", worklist=ris) as edge:
            await until(lambda: edge.metrics.value(PACS_PREFETCHED, why="worklist") == 4)
            assert edge.metrics.value(PACS_INSTANCES) == 4, "nobody else's"


async def test_priors_of_todays_patients_by_the_worklist_here(
    pacs: DicomPacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(priors, "EVERY_S", 0.05)
    async with edge_before(tmp_path / "edge", pacs.url, prior_studies=1, push="today") as edge:
        for patient in ("*", "1CT1"):  # a wildcard is nobody
            posted = await edge.client.post("/api/worklist", json=[order(patient).to_json_dict()])
            assert posted.status_code < 300, posted.text
        await until(lambda: edge.metrics.value(PACS_PREFETCHED, why="worklist") == 1)
        assert edge.metrics.value(PACS_INSTANCES) == 1
