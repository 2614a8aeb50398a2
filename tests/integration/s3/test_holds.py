"""Legal holds of a bucket follow those of the catalogue, also where a study comes to name a patient on hold."""

from __future__ import annotations

import time
from pathlib import Path

import pydicom
import pytest

from nearframe.storage.s3 import S3Location
from tests.integration.origin.test_process import running
from tests.integration.s3.test_origin import role
from tests.postgres import create_schema
from tests.radosgw import Radosgw
from tests.syncing import ct_series, instance_uid

pytestmark = [pytest.mark.radosgw, pytest.mark.postgresql]

HELD, MOVED, LATE = "1.2.826.8.1", "1.2.826.8.2", "1.2.826.8.3"
_PATIENCE_S = 30


def file_of(study: str, patient: str) -> bytes:
    def name(ds: pydicom.Dataset) -> None:
        ds.PatientID = patient

    return ct_series(1, study=study, change=name)[0]


def test_a_study_that_comes_to_name_a_patient_on_hold_is_locked(
    root: Path, tmp_path: Path, radosgw: Radosgw, postgres_server: str
) -> None:
    location = radosgw.new_bucket(object_lock=True)
    command = role(location, radosgw.port, create_schema(postgres_server, "locked"))
    with running(root, tmp_path / "home", (*command, "--no-renditions", "--no-perceptual")) as origin:
        for study, patient in ((HELD, "HELD"), (MOVED, "OTHER")):
            assert origin.store(file_of(study, patient)).status_code == 200
        placed = origin.client.post("/api/holds", json={"patient": {"id": "HELD"}, "reason": "case 12"})
        assert placed.status_code == 200
        assert locked(radosgw, location) == 1
        move = {"action": "move", "select": {"study": MOVED}, "to": {"patient": {"id": "HELD"}}, "reason": "mixed up"}
        assert origin.client.post("/api/corrections", json=move).status_code == 200
        until_locked(radosgw, location, 3)  # its pixels, which stood there before, and its new header
        assert origin.store(file_of(LATE, "HELD")).status_code == 200
        until_locked(radosgw, location, 4)
        delete = {"action": "delete", "select": {"study": MOVED}, "reason": "never mind"}
        assert origin.client.post("/api/corrections", json=delete).status_code == 409
        ended = origin.client.post(f"/api/holds/{placed.json()['id']}/release", json={"reason": "settled"})
        assert ended.status_code == 200
        assert locked(radosgw, location) == 0
        assert origin.versions(instance_uid(file_of(MOVED, "OTHER")))[0] == file_of(MOVED, "OTHER")


def until_locked(radosgw: Radosgw, location: S3Location, count: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while (found := locked(radosgw, location)) != count:
        assert time.monotonic() < deadline, f"{found} objects are locked"
        time.sleep(0.05)  # the bucket tells nobody


def locked(radosgw: Radosgw, location: S3Location) -> int:
    """Return how many objects of a bucket are under a legal hold, asked past everything of ours."""
    from botocore.session import Session

    client = Session().create_client("s3", endpoint_url=radosgw.options.endpoint, region_name=radosgw.options.region)
    try:
        names = [one["Key"] for one in client.list_objects_v2(Bucket=location.bucket).get("Contents", ())]
        return sum(_is_locked(client, location.bucket, name) for name in names if "/packs/" in name)
    finally:
        client.close()


def _is_locked(client: object, bucket: str, name: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        return client.get_object_legal_hold(Bucket=bucket, Key=name)["LegalHold"]["Status"] == "ON"  # type: ignore[attr-defined,no-any-return]
    except ClientError:  # it never had one
        return False
