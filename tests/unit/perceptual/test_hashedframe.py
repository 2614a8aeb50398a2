from __future__ import annotations

import inspect

from nearframe.perceptual.hashedframe import Sameness, sameness
from nearframe.storage.ports import PerceptualRow
from tests.unit.perceptual.pictures import Row

A, B, P, Q = (bytes([n]) * 32 for n in range(4))


def test_sameness() -> None:
    assert sameness(A, P, A, P) is Sameness.SAME_BYTES
    assert sameness(A, None, A, None) is Sameness.SAME_BYTES
    assert sameness(A, P, B, P) is Sameness.SAME_PIXELS
    assert sameness(A, P, B, Q) is Sameness.UNPROVED
    assert sameness(A, None, B, None) is Sameness.UNPROVED


def test_only_digests_can_decide() -> None:
    assert list(inspect.signature(sameness).parameters) == ["enc", "pix", "other_enc", "other_pix"]


def test_rows_of_the_catalogue_will_do() -> None:
    needed = {"identity", "version", "frame_index", "enc", "pix", "hash", "quality", "modality", "length"}
    assert needed <= set(PerceptualRow.__dataclass_fields__)
    assert needed <= set(Row.__dataclass_fields__)
