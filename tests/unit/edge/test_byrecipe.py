"""Frames that come as recipes, and what happens where they do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pydicom
import pytest
from pydicom.uid import UID

from nearframe.cache.flight import Flight
from nearframe.clock import ManualClock
from nearframe.context import Urgency
from nearframe.delta import coded
from nearframe.delta.frame import Frame, FrameForm
from nearframe.delta.rates import Rates
from nearframe.edge import byrecipe
from nearframe.edge.bases import HeldBases
from nearframe.edge.byrecipe import RecipeFetch
from nearframe.edge.line import Line, Transfer
from nearframe.edge.making import FrameMaker
from nearframe.edge.studyindex import Content, StudyIndexes
from nearframe.edge.upstream import Upstreams
from nearframe.errors import NotFound, UpstreamUnavailable
from nearframe.ids import Digest
from nearframe.metrics import RECIPES_FOLLOWED, RECIPES_REFUSED, RECIPES_SAVED_BYTES, Metrics
from nearframe.query.freshness import Freshness
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.wire.framerecipe import FrameRecipe, Operation
from tests.syncing import STUDY_UID, Shelves, ct_series, edited, shelves

STUDY = StudyRef("main", STUDY_UID)
OTHER = StudyRef("main", f"{STUDY_UID}.2")


def copied(file: bytes) -> bytes:
    """Return a slice of another study at the same place, with the picture upside down."""

    def change(ds: pydicom.Dataset) -> None:
        ds.StudyInstanceUID, ds.SeriesInstanceUID = OTHER.study_instance_uid, f"{OTHER.study_instance_uid}.1"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ds.SOPInstanceUID}.2")
        ds.PixelData = ds.PixelData[::-1]

    return edited(file, change)


def somewhere(ds: pydicom.Dataset) -> None:
    ds.FrameOfReferenceUID = f"{STUDY_UID}.9"


class RecipeUpstream:
    """Sends `answer`, in pieces of at most 4 KB."""

    def __init__(self, line: Line, answer: bytes) -> None:
        self.line = line
        self.answer: bytes | Exception = answer
        self.asked: list[str] = []

    @asynccontextmanager
    async def recipe(
        self, study: StudyRef, enc: Digest, ask: str, transfer: Transfer, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        self.asked.append(ask)
        if isinstance(self.answer, Exception):
            raise self.answer
        sent = self.answer[start : min(stop or len(self.answer), start + 4096)]

        async def chunks() -> AsyncIterator[bytes]:
            yield sent

        yield len(self.answer), chunks()


class Setup:
    """An edge that holds one study and lacks the frame of another."""

    def __init__(self, edge: Shelves) -> None:
        (held,) = ct_series(1, rows=128, change=somewhere)
        edge.put([held, copied(held)])
        self.clock, self.metrics, self.workers = ManualClock(), Metrics(), Workers("test", 2)
        self.base, self.form = self._form(edge, STUDY), self._form(edge, OTHER)
        self.frame = edge.store.read(OTHER, self.form.enc)
        edge.store.release(OTHER, [self.form.enc])
        recipe = coded.encode(Frame(self.form, lambda _: self.frame), Rates.of_megabits(10))
        assert recipe is not None
        self.recipe = recipe
        self.upstream = RecipeUpstream(Line(self.clock, self.metrics), recipe.encode())
        indexes = StudyIndexes(edge.catalogue, Freshness(), self.workers)
        manifests = Manifests(edge.catalogue, self.workers, 1_000_000)
        bases = HeldBases(edge.store, manifests, indexes, self.workers, self.clock, lambda _: [STUDY])
        maker = FrameMaker(self.workers, self.metrics)
        self.is_allowed = True
        self.fetch = RecipeFetch(
            cast("Upstreams", self.upstream),
            indexes,
            bases,
            edge.store,
            maker,
            self.workers,
            self.metrics,
            self.clock,
            self.allowed,
        )

    async def allowed(self, study: StudyRef) -> bool:
        return self.is_allowed

    def _form(self, edge: Shelves, study: StudyRef) -> FrameForm:
        (record,) = edge.catalogue.list_instances(study)
        ((enc, length),) = record.frames
        return FrameForm(enc, length, record.transfer_syntax_uid, record.pixel)

    async def bring(self) -> bytes | None:
        content = Content(self.form.enc, ContentKind.FRAME, self.form.length)
        return await self.fetch.bring(OTHER, content, Flight(Urgency.ARCHIVE))


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    for edge in shelves(tmp_path):
        made = Setup(edge)
        yield made
        made.workers.close()


async def test_a_frame_comes_as_a_recipe_in_pieces(setup: Setup) -> None:
    assert await setup.bring() == setup.frame
    assert len(setup.upstream.asked) > 1
    assert setup.metrics.value(RECIPES_FOLLOWED, operation="coded") == 1
    assert setup.metrics.value(RECIPES_SAVED_BYTES, operation="coded") == setup.form.length - setup.recipe.size
    (ask,) = set(setup.upstream.asked)
    assert f":{STUDY_UID}:{setup.base.enc.hex()}" in ask, "what is held of the place is proposed"


async def test_a_base_that_is_held(setup: Setup) -> None:
    setup.upstream.answer = FrameRecipe(Operation.SAME, (setup.base.enc,)).encode()
    assert await setup.bring() is None, "it is another picture"
    assert setup.metrics.value(RECIPES_REFUSED, operation="same", reason="digest") == 1


@pytest.mark.parametrize(
    ("answer", "operation", "reason"),
    [
        (b"no recipe", "none", "malformed"),
        (FrameRecipe(Operation.SAME, (b"x" * 32,)).encode(), "same", "base"),
        (FrameRecipe(Operation.PLAIN, payload=b"short").encode(), "plain", "malformed"),
    ],
)
async def test_what_cannot_be_followed_is_refused(setup: Setup, answer: bytes, operation: str, reason: str) -> None:
    setup.upstream.answer = answer
    assert await setup.bring() is None
    assert setup.metrics.value(RECIPES_REFUSED, operation=operation, reason=reason) == 1


async def test_more_than_a_frame_is_not_taken(setup: Setup) -> None:
    setup.upstream.answer = bytes(setup.form.length + 5000)
    assert await setup.bring() is None
    assert len(setup.upstream.asked) == 1


async def test_an_upstream_without_recipes_is_asked_again_later(setup: Setup) -> None:
    setup.upstream.answer = NotFound("recipe")
    assert await setup.bring() is None
    assert await setup.bring() is None
    assert len(setup.upstream.asked) == 1
    setup.clock.advance(byrecipe.ASK_AGAIN_S)
    assert await setup.bring() is None
    assert len(setup.upstream.asked) == 2


async def test_a_lost_line_leaves_it_to_the_plain_way(setup: Setup) -> None:
    setup.upstream.answer = UpstreamUnavailable("away")
    assert await setup.bring() is None


async def test_what_is_short_is_not_asked_for(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byrecipe, "MIN_BYTES", setup.form.length + 1)
    assert await setup.bring() is None
    assert not setup.upstream.asked


async def test_a_study_whose_rule_forbids_it_is_not_asked_for(setup: Setup) -> None:
    setup.is_allowed = False
    assert await setup.bring() is None
    assert not setup.upstream.asked
