"""Native frames and their renditions, each made from the other or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from nearframe.delta.frame import FrameForm
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.transcode import transcode
from nearframe.dicom.transfersyntax import ExplicitVRLittleEndian, HTJ2KLosslessRPCL
from nearframe.edge.making import FrameMaker
from nearframe.edge.studyindex import Content, Twins
from nearframe.ids import sha256
from nearframe.metrics import FRAMES_MADE, RECIPES_REFUSED, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind

PIXEL = PixelDescription(32, 32, 1, 16, 16, 15, 0, "MONOCHROME2")
NATIVE = bytes(2048)
RENDITION = transcode(NATIVE, ExplicitVRLittleEndian, PIXEL, HTJ2KLosslessRPCL).encoded
STORED = Content(sha256(NATIVE), ContentKind.FRAME, len(NATIVE), sha256(RENDITION))
MADE = Content(sha256(RENDITION), ContentKind.DERIVED, len(RENDITION), sha256(NATIVE))
TWINS = Twins(STORED, MADE, FrameForm(STORED.digest, STORED.length, ExplicitVRLittleEndian, PIXEL))


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers("test", 1)
    yield made
    made.close()


async def test_each_comes_out_of_the_other_and_is_kept_for_a_while(workers: Workers) -> None:
    metrics = Metrics()
    maker = FrameMaker(workers, metrics)
    assert maker.held(STORED.digest) is None
    readers = (maker.make(TWINS, STORED.digest, RENDITION) for _ in range(3))
    assert await asyncio.gather(*readers) == [NATIVE] * 3
    assert metrics.value(FRAMES_MADE, form="native") == 1
    assert maker.held(STORED.digest) == NATIVE
    assert await maker.make(TWINS, MADE.digest, NATIVE) == RENDITION
    assert metrics.value(FRAMES_MADE, form="rendition") == 1


@pytest.mark.parametrize(
    ("wanted", "twin", "reason"),
    [
        (STORED, transcode(b"\1" * 2048, ExplicitVRLittleEndian, PIXEL, HTJ2KLosslessRPCL).encoded, "digest"),
        (STORED, b"no codestream", "malformed"),
        (MADE, b"\1" * 2048, "digest"),
        (MADE, b"short", "malformed"),
    ],
)
async def test_anything_else_counts_and_is_not_used(
    workers: Workers, wanted: Content, twin: bytes, reason: str
) -> None:
    metrics = Metrics()
    maker = FrameMaker(workers, metrics)
    assert await maker.make(TWINS, wanted.digest, twin) is None
    assert metrics.value(RECIPES_REFUSED, operation="coded", reason=reason) == 1
    assert maker.held(wanted.digest) is None
