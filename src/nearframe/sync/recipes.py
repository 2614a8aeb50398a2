"""Frames by recipe: the sender's side, for a node that would rather compute than wait.

The recipe is chosen for the line that the receiver measured, from bases that it says it
holds, and proved here before a byte leaves. The receiver takes it in pieces, as it does
contents: between them it is kept, and it would come out the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from nearframe.context import Context
from nearframe.dicomweb.answers import Resource, answer
from nearframe.errors import NotFound
from nearframe.ids import sha256
from nearframe.query.body import Body, Streamed
from nearframe.sync.asked import digest_of, study_of
from nearframe.sync.services import RECIPE, SyncServices
from nearframe.wire.recipeask import read_line, read_proposals

MEDIA_TYPE: Final = "application/vnd.nearframe.recipe"


async def recipe(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer with a frame as a recipe, or a range of it; what has no shorter one is in it whole."""
    if services.recipes is None:
        raise NotFound("frame that can be sent by recipe")
    study = study_of(context, request)
    enc = digest_of(request.path_params["digest"], "a frame's name")
    line = read_line(request.query_params.get("line"))
    proposals = read_proposals(request.query_params.getlist("base"))
    data = await services.recipes.of(context, study, enc, line, proposals)

    async def part(start: int, stop: int | None) -> AsyncIterator[bytes]:
        sent = data[start:stop]
        services.sent(RECIPE, int(start + len(sent) == len(data)), len(sent))
        yield sent

    async def body() -> Body:
        return Body([Streamed(len(data), part)])

    return await answer(
        request,
        Resource(f'"{sha256(data).hex()}"', MEDIA_TYPE, body, cache_control="no-store", vary=""),
    )
