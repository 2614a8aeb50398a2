"""The user's side of hierarchical queries (PS3.4 section C.4.1.2.2): from studies down, a level at a time.

Not every peer answers relational ones, so a question about the instances of a study is asked as one
C-FIND for the study, one for its series, and one for each of these.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.identifiers import is_uid, text_of
from nearframe.dimse.requests import Requests
from nearframe.dimse.scu_query import Level, find, identifier_of

#: The levels, each with the keyword and tag of its unique key.
LEVELS: Final = (
    (Level.STUDY, "StudyInstanceUID", "0020000D"),
    (Level.SERIES, "SeriesInstanceUID", "0020000E"),
    (Level.IMAGE, "SOPInstanceUID", "00080018"),
)


async def walk(
    requests: Requests, *keys: Mapping[str, str], above: tuple[DICOMJSON, ...] = ()
) -> AsyncGenerator[tuple[DICOMJSON, ...], None]:
    """Yield what matches at the last of some levels, behind what it is part of at those above.

    What a peer shows without a UID is left out: as a key it would be a pattern, or match everything.

    Parameters
    ----------
    keys
        Of each level from the study down, as of `identifier_of`.
    above
        What was found at the levels above the first of `keys`.

    Raises
    ------
    NotAcceptable, UpstreamError
        As `find`.
    """
    level, own, unique = LEVELS[len(above)]
    parents = {name: text_of(row, tag) for (_, name, tag), row in zip(LEVELS, above, strict=False)}
    identifier = identifier_of({own: "", **keys[0], **parents}, level)
    async with aclosing(find(requests, level.find_model, identifier)) as rows:
        if len(keys) == 1:
            async for row in rows:
                if is_uid(text_of(row, unique)):
                    yield (*above, row)
            return
        # All of a level first: most peers answer one question at a time on an association.
        found = [row async for row in rows if is_uid(text_of(row, unique))]
    for row in found:
        async with aclosing(walk(requests, *keys[1:], above=(*above, row))) as below:
            async for match in below:
                yield match
