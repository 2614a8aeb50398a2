"""Storage commitment (PS3.18 chapter 13): which objects this node answers for, told at once."""

from __future__ import annotations

import json
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from nearframe.dicom.dicomxml import to_xml
from nearframe.dicomweb import negotiation
from nearframe.dicomweb.call import Call
from nearframe.dicomweb.jsonbody import json_body
from nearframe.dicomweb.services import Services
from nearframe.errors import MalformedRequest, Refused
from nearframe.query.commitment import CommitmentService
from nearframe.storage.catalogue.commitments import Commitment
from nearframe.units import MIB

_MAX_BODY_BYTES: Final = 8 * MIB
_JSON: Final = ("application/json", negotiation.DICOM_JSON)


async def request_commitment(services: Services, call: Call) -> Response:
    """Keep a request for storage commitment, and answer it."""
    service = _service(services)
    document = await json_body(call.request, _JSON, _MAX_BODY_BYTES)
    if isinstance(document, list) and len(document) == 1:
        document = document[0]  # as PS3.18 section F.2 has data sets, one of them or many
    if not isinstance(document, dict):
        raise MalformedRequest("a request for storage commitment is one data set")
    uid = _transaction(call.request)
    commitment = await services.sql.run(service.ask, call.context, "", document, uid)
    return await _report(services, service, call, commitment)


async def check_commitment(services: Services, call: Call) -> Response:
    """Answer a request that was made before, as things are now."""
    service = _service(services)
    commitment = await services.sql.run(service.find, call.context, "", _transaction(call.request))
    return await _report(services, service, call, commitment)


def _service(services: Services) -> CommitmentService:
    if services.commitment is None:
        raise Refused("this node keeps nothing safe; ask the archive behind it")
    return services.commitment


def _transaction(request: Request) -> str:
    uid: str = request.path_params["transaction"]
    if not (uid.isascii() and uid.replace(".", "").isdigit()):
        raise MalformedRequest("a Transaction UID has digits and dots")
    return uid


async def _report(services: Services, service: CommitmentService, call: Call, commitment: Commitment) -> Response:
    chosen = negotiation.documents(call.accepted)
    report = (await services.sql.run(service.judge, commitment)).as_json()
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    if chosen.offer is negotiation.XML_OFFER:
        return Response(to_xml(report), media_type=negotiation.DICOM_XML, headers=headers)
    body = json.dumps(report, separators=(",", ":")).encode()
    return Response(body, media_type=negotiation.DICOM_JSON, headers=headers)
