"""What a frame costs, alone and in a row."""

from __future__ import annotations

import pytest

from nearframe.delta.cost import seconds
from nearframe.delta.rates import Rates
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.encoders import ENCODERS
from nearframe.wire.framerecipe import FrameRecipe, Operation
from tests.unit.delta.held import Store, describe, picture


def test_alone_line_and_work_add_up_and_in_a_row_the_slower_counts() -> None:
    alone, in_a_row = Rates.of_megabits(8), Rates.of_megabits(8, cores=2)
    assert alone.seconds(1_000_000, 0.5) == 1.5
    assert in_a_row.seconds(1_000_000, 0.5) == 1.0
    assert in_a_row.seconds(1_000_000, 6.0) == 3.0


def test_cost_grows_with_what_has_to_be_decoded() -> None:
    store, rates = Store(), Rates.of_megabits(1000)
    samples = picture(rows=512, columns=512)
    target = store.native(samples)
    packed = store.put(ENCODERS[ts.JPEGLSLossless](samples, describe(samples)), describe(samples), ts.JPEGLSLossless)
    payload = bytes(1000)
    native_base = seconds(FrameRecipe(Operation.SAME, (target.enc,)), target, [target], rates)
    packed_base = seconds(FrameRecipe(Operation.SAME, (packed.enc,)), target, [packed], rates)
    assert packed_base - native_base > 0.004
    small, large = (FrameRecipe(Operation.BOX, (), (2, 0, 0, side, side), payload) for side in (10, 500))
    assert seconds(small, target, (), rates) < seconds(large, target, (), rates)
    tiles = FrameRecipe(Operation.TILES, (), (2, 256), payload)
    box = FrameRecipe(Operation.BOX, (), (2, 0, 0, 512, 512), payload)
    assert seconds(tiles, target, (), rates) == pytest.approx(seconds(box, target, (), rates), rel=0.01)
    narrow, wide = (FrameRecipe(Operation.CODED, (), (1, bits, 0), payload) for bits in (8, 16))
    assert seconds(narrow, target, (), rates) < seconds(wide, target, (), rates)
    assert seconds(FrameRecipe(Operation.PLAIN, payload=payload), target, (), rates) < 0.0001
