"""What a store request is answered with when nothing of it was stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from nearframe.context import Context, local_admin
from nearframe.dicomweb.ports import IncomingPart
from nearframe.errors import Busy, DatabaseAway, MalformedDICOM, NearframeError, NoSpace
from nearframe.intake.ingest import Expected, Ingest, NotTaken
from nearframe.intake.spool import Spool, Spooled, SpoolLimits
from nearframe.intake.store import Store
from tests.integration.origin.conftest import Part
from tests.syncing import ct_series

AWAY, FULL = DatabaseAway("the catalogue is away"), NoSpace(1, 0)
BUSY, WRONG = Busy("the bucket does not answer"), MalformedDICOM("no DICOM")


class Failing:
    """An ingest that fails for each object in another way."""

    def __init__(self, errors: Sequence[NearframeError]) -> None:
        self._errors: Iterator[NearframeError] = iter(errors)

    async def take(self, ctx: Context, received: Spooled, expected: Expected, way: str) -> NotTaken:
        received.close()
        return NotTaken(next(self._errors), None)


async def store(folder: Path, *errors: NearframeError) -> list[str]:
    """Store as many objects as there are errors; return what is said of each."""
    service = Store(cast(Ingest, Failing(errors)), Spool(folder, SpoolLimits(reserve_bytes=0)))

    async def parts() -> AsyncIterator[IncomingPart]:
        for file in ct_series(len(errors)):
            yield Part(file)

    report = await service.store(local_admin(), parts(), None)
    return [failed.message for failed in report.failed]


@pytest.mark.parametrize("errors", [(AWAY, BUSY), (BUSY, AWAY, FULL), (FULL,)])
async def test_what_may_be_tried_again_is_said_of_the_whole_request(
    tmp_path: Path, errors: tuple[NearframeError, ...]
) -> None:
    with pytest.raises(type(errors[0])):
        await store(tmp_path, *errors)


async def test_what_is_wrong_with_an_object_is_said_of_it(tmp_path: Path) -> None:
    assert len(await store(tmp_path, BUSY, WRONG)) == 2
