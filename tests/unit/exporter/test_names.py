"""Numbers instead of names."""

from __future__ import annotations

from nearframe.exporter.names import Numbering, media_name, plain_name


def test_numbers_follow_the_order_and_stay() -> None:
    numbering = Numbering()
    first = numbering.of("p", "a", "a.1", "a.1.1")
    assert numbering.of("p", "a", "a.1", "a.1.2") == (1, 1, 1, 2)
    assert numbering.of("p", "a", "a.2", "a.2.1") == (1, 1, 2, 1)
    assert numbering.of("q", "b", "b.1", "b.1.1") == (2, 1, 1, 1)
    assert numbering.of("p", "a", "a.1", "a.1.1") == first == (1, 1, 1, 1)


def test_names() -> None:
    numbers = Numbering().of("p", "a", "b", "c")
    assert plain_name(numbers) == "study-00001/series-001/00001.dcm"
    assert media_name(numbers) == "DICOM/PA000001/ST000001/SE000001/IM000001"
