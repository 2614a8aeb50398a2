"""The bucket of an origin that keeps its contents in one."""

from __future__ import annotations

from contextlib import closing

from nearframe.query.health import WELL, Finding, State
from nearframe.storage.objects import INDEX_FILE, belongs, open_index
from nearframe.storage.stores import open_bucket
from nearframe.upkeep.doctor.patient import Patient, unseen


def look_at_bucket(patient: Patient) -> Finding:
    """Look whether the bucket answers, is that of the index, and can hold objects for the law."""
    settings = patient.settings
    if not settings.s3_url:
        return unseen("the contents are in the home")
    if patient.is_new:
        return unseen("nothing is kept here yet")
    with (
        closing(open_bucket(settings)) as bucket,
        closing(open_index(settings.database_url or settings.home / INDEX_FILE)) as index,
    ):
        if not belongs(index, bucket):
            return Finding(
                State.FAILING, "the bucket is not that of the index in the database: correct s3_url or database_url"
            )
        if not bucket.can_hold():
            return Finding(
                State.OK, "without object lock, which a bucket gets when it is made: legal holds are refused"
            )
    return WELL
