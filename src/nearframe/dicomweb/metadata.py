"""Metadata (PS3.18 section 10.4.1.1.5), compressed once, revalidated without building it."""

from __future__ import annotations

import json

from starlette.responses import Response

from nearframe.dicom.dicomxml import to_xml
from nearframe.dicomweb import negotiation
from nearframe.dicomweb.answers import IMMUTABLE, REVALIDATE, Resource, answer
from nearframe.dicomweb.call import Call
from nearframe.dicomweb.services import Services
from nearframe.errors import NotAcceptable
from nearframe.ids import sha256
from nearframe.query.body import Body
from nearframe.query.retrieve_metadata import MetadataScope
from nearframe.wire import multipart
from nearframe.wire.accept import Representation
from nearframe.wire.contentcoding import CODINGS, IDENTITY, choose_coding
from nearframe.wire.dictionarycoding import AVAILABLE, DCZ, USE_AS, available_dictionary, use_for


async def retrieve_metadata(services: Services, call: Call) -> Response:
    """Answer with the metadata of a study, a series, or an instance."""
    chosen = negotiation.documents(call.accepted)
    scope = _scope(services, call)
    state = await services.metadata.state(scope)
    # Links in it begin with the address the client used: another address, another representation.
    address = sha256(call.service_url.encode()).hex()[:8]
    if chosen.offer is negotiation.XML_OFFER:
        return await answer(call.request, _xml(services, call, scope, chosen, f"{state}-{address}"))
    if services.dictionaries:
        return await answer(call.request, await _with_dictionaries(services, call, scope, state, chosen, address))
    coding = choose_coding(call.request.headers.get("accept-encoding"), CODINGS)

    async def body() -> Body:
        return Body.of(await services.metadata.json(scope, state, call.service_url, coding))

    return await answer(
        call.request,
        Resource(
            f'"{state}-{address}-json-{coding}"',
            chosen.part_type,
            body,
            headers={} if coding == IDENTITY else {"Content-Encoding": coding},
            vary="Accept, Accept-Encoding",
        ),
    )


async def _with_dictionaries(
    services: Services, call: Call, scope: MetadataScope, state: str, chosen: Representation, address: str
) -> Resource:
    """Return the metadata compressed against an earlier version that the client has, and offer what it may keep.

    Only a version that was named never changes, so only that may be kept and be a dictionary.
    """
    headers = call.request.headers
    cache_control, offer = REVALIDATE, {}
    if call.version is not None:
        cache_control = IMMUTABLE
        pattern = use_for(call.request.url.path)
        if pattern is not None and await services.metadata.offer(scope, state, call.service_url):
            offer = {USE_AS: pattern}
    vary = f"Accept, Accept-Encoding, {AVAILABLE}"
    dictionary = available_dictionary(headers.get(AVAILABLE), headers.get("accept-encoding"))
    if dictionary is not None:
        made = await services.metadata.against(scope, state, call.service_url, dictionary)
        if made is not None:
            small = Body.of(made)

            async def ready() -> Body:
                return small

            etag = f'"{state}-{address}-json-dcz-{dictionary.hex()[:16]}"'
            coded = {"Content-Encoding": DCZ, **offer}
            return Resource(etag, chosen.part_type, ready, coded, cache_control, vary)
    coding = choose_coding(headers.get("accept-encoding"), CODINGS)

    async def body() -> Body:
        return Body.of(await services.metadata.json(scope, state, call.service_url, coding))

    coded = offer if coding == IDENTITY else {"Content-Encoding": coding, **offer}
    return Resource(f'"{state}-{address}-json-{coding}"', chosen.part_type, body, coded, cache_control, vary)


def _scope(services: Services, call: Call) -> MetadataScope:
    study = services.records.study(call.context, call.study)
    if call.instance is None:
        return MetadataScope(study, call.series, at_seq=call.version)
    return MetadataScope(study, call.series, call.instance, version=call.version)


def _xml(services: Services, call: Call, scope: MetadataScope, chosen: Representation, state: str) -> Resource:
    boundary = multipart.boundary_for(state.encode())

    async def body() -> Body:
        rows = await services.metadata.instances(scope, call.service_url)
        documents = await services.cpu.run(lambda: [to_xml(json.loads(row)) for row in rows])
        if chosen.multipart:
            return Body.of(multipart.joined(boundary, [(chosen.essence, document) for document in documents]))
        if len(documents) > 1:
            raise NotAcceptable("several instances go into one multipart/related answer; accept that")
        return Body.of(documents[0])

    content_type = multipart.content_type(boundary, chosen.media_type) if chosen.multipart else chosen.essence
    form = "m" if chosen.multipart else "s"
    return Resource(f'"{state}-xml-{form}"', content_type, body)
