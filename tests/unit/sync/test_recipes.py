"""The sender's side of frames by recipe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pydicom
import pytest
from pydicom.uid import UID

from nearframe.context import Context, local_admin
from nearframe.delta.apply import apply
from nearframe.delta.evidence import Evidence
from nearframe.delta.frame import FrameForm
from nearframe.errors import MalformedRequest, NotFound
from nearframe.ids import Digest
from nearframe.query.contents import LocalContents
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef
from nearframe.sync.recipebook import RecipeBook
from nearframe.wire.framerecipe import FrameRecipe, Operation
from nearframe.wire.recipeask import Proposal
from tests.syncing import STUDY_UID, Shelves, ct_series, edited, shelves

STUDY = StudyRef("main", STUDY_UID)
OTHER = StudyRef("main", f"{STUDY_UID}.2")
ADMIN = local_admin()
LINE = 1 << 20


def altered(file: bytes) -> bytes:
    """Return a slice of another study that differs in one row."""

    def change(ds: pydicom.Dataset) -> None:
        ds.StudyInstanceUID, ds.SeriesInstanceUID = OTHER.study_instance_uid, f"{OTHER.study_instance_uid}.1"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ds.SOPInstanceUID}.2")
        ds.PixelData = bytes(128) + ds.PixelData[128:]

    return edited(file, change)


class Setup:
    """An archive with two studies, of which the second is nearly the first."""

    def __init__(self, origin: Shelves) -> None:
        (first,) = ct_series(1, rows=64)
        origin.put([first])
        origin.put([altered(first)])
        self.store = origin.store
        self.workers = Workers("test", 2)
        manifests = Manifests(origin.catalogue, self.workers, 1_000_000)
        self.book = RecipeBook(LocalContents(origin.store, self.workers), origin.store, manifests, self.workers)
        self.forms = {study: self.form(origin, study) for study in (STUDY, OTHER)}

    def form(self, origin: Shelves, study: StudyRef) -> FrameForm:
        (record,) = origin.catalogue.list_instances(study)
        ((enc, length),) = record.frames
        return FrameForm(enc, length, record.transfer_syntax_uid, record.pixel)

    def proposal(self, evidence: int = Evidence.SAME_PLACE, uid: str = STUDY_UID, enc: Digest = b"") -> Proposal:
        return Proposal(evidence, uid, (enc or self.forms[STUDY].enc,))

    async def recipe(self, *proposals: Proposal, context: Context = ADMIN) -> FrameRecipe:
        return FrameRecipe.decode(await self.book.of(context, OTHER, self.forms[OTHER].enc, LINE, proposals))


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


@pytest.fixture
async def setup(origin: Shelves) -> AsyncIterator[Setup]:
    made = Setup(origin)
    yield made
    made.workers.close()


async def test_a_frame_of_a_base_that_is_held(setup: Setup) -> None:
    recipe = await setup.recipe(setup.proposal())
    base, target = setup.forms[STUDY], setup.forms[OTHER]
    assert (recipe.operation, recipe.bases) == (Operation.BOX, (base.enc,))
    made = apply(recipe, target, {base.enc: base}, lambda enc: setup.store.read(STUDY, enc))
    assert made == setup.store.read(OTHER, target.enc)


async def test_without_bases_it_is_coded(setup: Setup) -> None:
    recipe = await setup.recipe()
    assert recipe.operation is Operation.CODED
    assert recipe.size < setup.forms[OTHER].length / 2


async def test_a_base_that_nobody_knows_here_is_passed_over(setup: Setup) -> None:
    nowhere, elsewhere = setup.proposal(uid="1.9"), setup.proposal(enc=b"x" * 32)
    assert (await setup.recipe(nowhere, elsewhere)).operation is Operation.CODED


async def test_a_base_that_the_receiver_may_not_read_is_passed_over(setup: Setup) -> None:
    narrow = SimpleNamespace(tenant="main", scope=SimpleNamespace(admits=lambda uid: uid != STUDY_UID))
    recipe = await setup.recipe(setup.proposal(), context=cast("Context", narrow))
    assert recipe.operation is Operation.CODED


async def test_a_base_that_looks_alike(setup: Setup) -> None:
    assert (await setup.recipe(setup.proposal(Evidence.LOOKS_ALIKE))).operation is Operation.BOX


@pytest.mark.parametrize("evidence", [0, 99])
async def test_a_reason_that_nobody_knows_is_refused(setup: Setup, evidence: int) -> None:
    with pytest.raises(MalformedRequest):
        await setup.recipe(setup.proposal(evidence))


async def test_a_frame_that_the_study_lacks(setup: Setup) -> None:
    with pytest.raises(NotFound):
        await setup.book.of(ADMIN, OTHER, setup.forms[STUDY].enc, LINE, ())
