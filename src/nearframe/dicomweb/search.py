"""Searches (PS3.18 section 10.6)."""

from __future__ import annotations

from starlette.responses import Response

from nearframe.dicom.levels import Level
from nearframe.dicomweb import negotiation
from nearframe.dicomweb.answers import Resource, answer
from nearframe.dicomweb.call import Call
from nearframe.dicomweb.services import Services
from nearframe.query.body import Body
from nearframe.query.searches import Question
from nearframe.wire import multipart
from nearframe.wire.contentcoding import CODINGS, IDENTITY, choose_coding


async def search_studies(services: Services, call: Call) -> Response:
    """Answer with the studies that match."""
    return await _search(services, call, Level.STUDY)


async def search_series(services: Services, call: Call) -> Response:
    """Answer with the series that match, of one study or all."""
    return await _search(services, call, Level.SERIES)


async def search_instances(services: Services, call: Call) -> Response:
    """Answer with the instances that match, of one series, one study or all."""
    return await _search(services, call, Level.INSTANCE)


async def _search(services: Services, call: Call, level: Level) -> Response:
    chosen = negotiation.documents(call.accepted)
    is_xml = chosen.offer is negotiation.XML_OFFER
    # A stable boundary: matches are read from the catalogue, nobody can put one into them.
    boundary = multipart.boundary_for(str(call.request.url.query).encode()) if is_xml else ""
    question = Question(
        level=level,
        params=tuple(call.request.query_params.multi_items()),
        study=call.study if "study" in call.request.path_params else None,
        series=call.series,
        service_url=call.service_url,
        xml_boundary=boundary,
        coding=choose_coding(call.request.headers.get("accept-encoding"), CODINGS),
    )
    page = await services.searches.page(call.context, question)

    async def body() -> Body:
        return Body.of(page.body)

    headers = {} if page.coding == IDENTITY else {"Content-Encoding": page.coding}
    if page.warnings:
        headers["Warning"] = ", ".join(f'299 nearframe "{text}"' for text in page.warnings)
    content_type = multipart.content_type(boundary, chosen.media_type) if is_xml else chosen.part_type
    etag = f'"{page.digest.hex()[:32]}"'
    return await answer(
        call.request, Resource(etag, content_type, body, headers, vary="Accept, Accept-Encoding", ranges=False)
    )
