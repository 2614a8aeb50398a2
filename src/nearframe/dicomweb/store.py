"""Store (PS3.18 section 10.5): the body streams through, the answer says what became of each part."""

from __future__ import annotations

import json

from starlette.responses import Response

from nearframe.dicom.dicomxml import to_xml
from nearframe.dicomweb import negotiation
from nearframe.dicomweb.call import Call
from nearframe.dicomweb.incoming import incoming_parts
from nearframe.dicomweb.services import Services
from nearframe.dicomweb.store_response import store_response
from nearframe.errors import NotAcceptable, Refused
from nearframe.storage.ports import StudyRef


async def store_instances(services: Services, call: Call) -> Response:
    """Store the objects in the request; answer once they are durable."""
    if services.store is None:
        raise Refused("this node takes in no objects; send them to the archive behind it")
    study = call.study if "study" in call.request.path_params else None
    parts = incoming_parts(call.request.headers, call.request.stream())
    report = await services.store.store(call.context, parts, study)
    for stored in report.stored:
        services.freshness.changed(StudyRef(call.context.tenant, stored.identity.study_instance_uid))
    status, dataset = store_response(report, call.service_url, study)
    if _wants_xml(call):
        return Response(to_xml(dataset), status, media_type=negotiation.DICOM_XML)
    body = json.dumps(dataset, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(body, status, media_type=negotiation.DICOM_JSON)


def _wants_xml(call: Call) -> bool:
    # The objects are stored by now: an Accept that fits nothing must not hide that. JSON then.
    try:
        return negotiation.documents(call.accepted).offer is negotiation.XML_OFFER
    except NotAcceptable:
        return False
