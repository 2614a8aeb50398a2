"""The Store Instances Response Module (PS3.18 Table I.1-1) of a store report."""

from __future__ import annotations

from textwrap import shorten
from typing import Any, Final

from nearframe.dicom.model import DICOMJSON
from nearframe.dicomweb.address import instance_path, resource
from nearframe.dicomweb.ports import FailedInstance, StoredInstance, StoreReport

RETRIEVE_URL = "00081190"
FAILED_SOP_SEQUENCE = "00081198"
REFERENCED_SOP_SEQUENCE = "00081199"
OTHER_FAILURES_SEQUENCE = "0008119A"
REFERENCED_SOP_CLASS_UID = "00081150"
REFERENCED_SOP_INSTANCE_UID = "00081155"
WARNING_REASON = "00081196"
FAILURE_REASON = "00081197"
#: Text beside a reason, for people; PS3.18 leaves further attributes to us.
ERROR_COMMENT = "00000902"
_LO_CHARS: Final = 64


def store_response(report: StoreReport, service_url: str, study: str | None) -> tuple[int, DICOMJSON]:
    """Return the HTTP status and the data set that answer a store request.

    200 if everything was stored, 202 if something was not or has a warning, 409 if nothing
    was (PS3.18 Table 10.5.3-1). Sequences without items are left out: clients take an empty
    Failed SOP Sequence for a failure.
    """
    studies = {stored.identity.study_instance_uid for stored in report.stored}
    if study is None and len(studies) == 1:
        (study,) = studies
    failed = [one for one in report.failed if one.identity is not None and one.identity.sop_instance_uid]
    others = [one for one in report.failed if one not in failed]
    dataset: DICOMJSON = {}
    if study is not None:
        dataset[RETRIEVE_URL] = _element("UR", service_url + resource(study))
    for tag, items in (
        (FAILED_SOP_SEQUENCE, [_failed_item(one) for one in failed]),
        (REFERENCED_SOP_SEQUENCE, [_stored_item(one, service_url) for one in report.stored]),
        (OTHER_FAILURES_SEQUENCE, [_reason(one) for one in others]),
    ):
        if items:
            dataset[tag] = {"vr": "SQ", "Value": items}
    return _status(report), dataset


def _status(report: StoreReport) -> int:
    if report.failed and not report.stored:
        return 409
    warned = any(stored.warning_reason is not None for stored in report.stored)
    return 202 if report.failed or warned else 200


def _stored_item(stored: StoredInstance, service_url: str) -> DICOMJSON:
    identity = stored.identity
    url = service_url + instance_path(identity)
    item = _sop(identity.sop_class_uid, identity.sop_instance_uid) | {RETRIEVE_URL: _element("UR", url)}
    if stored.warning_reason is not None:
        item[WARNING_REASON] = _element("US", stored.warning_reason)
        item |= _comment(stored.warning)
    return item


def _failed_item(failed: FailedInstance) -> DICOMJSON:
    assert failed.identity is not None  # noqa: S101 - the caller sorts them
    return _sop(failed.identity.sop_class_uid, failed.identity.sop_instance_uid) | _reason(failed)


def _reason(failed: FailedInstance) -> DICOMJSON:
    return {FAILURE_REASON: _element("US", failed.failure_reason)} | _comment(failed.message)


def _sop(sop_class_uid: str, sop_instance_uid: str) -> DICOMJSON:
    return {
        REFERENCED_SOP_CLASS_UID: _element("UI", sop_class_uid) if sop_class_uid else {"vr": "UI"},
        REFERENCED_SOP_INSTANCE_UID: _element("UI", sop_instance_uid),
    }


def _comment(text: str) -> DICOMJSON:
    return {ERROR_COMMENT: _element("LO", shorten(text, _LO_CHARS, placeholder=" …"))} if text else {}


def _element(vr: str, *values: Any) -> DICOMJSON:
    return {"vr": vr, "Value": list(values)}
