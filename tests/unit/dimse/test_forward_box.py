"""What waits to be forwarded: nothing is missing in it, whatever was cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nearframe.clock import ManualClock
from nearframe.dimse.forward_box import CONSUMER, ForwardBox
from nearframe.dimse.forward_rules import ForwardRule, read_rules
from nearframe.dimse.peers import KnownPeer
from nearframe.errors import BackendFailed
from nearframe.metrics import EDGE_FILES_SET_ASIDE, Metrics
from tests.syncing import RECEIVED_AT, Shelves, ct_series, edited, rename, shelves

RULES = read_rules([{"to": "PACS", "Modality": "CT"}], {"PACS": KnownPeer("PACS", "pacs", 104)})


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


@pytest.fixture
def opened(archive: Shelves, tmp_path: Path) -> Iterator[Callable[..., ForwardBox]]:
    boxes: list[ForwardBox] = []

    def opened(rules: tuple[ForwardRule, ...] = RULES, metrics: Metrics | None = None) -> ForwardBox:
        for box in boxes:
            box.close()
        clock = ManualClock(RECEIVED_AT)
        boxes.append(ForwardBox(tmp_path, archive.catalogue, rules, clock, metrics or Metrics()))
        return boxes[-1]

    yield opened
    for box in boxes:
        box.close()


def waiting(box: ForwardBox) -> list[str]:
    return [one.sop_instance_uid for one in box.batch("PACS", 100)]


def test_what_was_recorded_waits_once(archive: Shelves, opened: Callable[..., ForwardBox]) -> None:
    box = opened()
    archive.put(ct_series(3))
    assert box.absorb() == {"PACS"}
    archive.put(ct_series(3))  # sent again: held already
    assert box.absorb() == set()
    assert len(waiting(box)) == 3
    assert archive.catalogue.lag(CONSUMER) == 0


def test_what_was_there_before_the_rules_is_not_forwarded(archive: Shelves, opened: Callable[..., ForwardBox]) -> None:
    archive.put(ct_series(2))
    box = opened()
    assert box.absorb() == set()
    archive.put(ct_series(1, seed=2))
    box.absorb()
    assert len(waiting(box)) == 1


def test_what_no_rule_names_is_passed(archive: Shelves, opened: Callable[..., ForwardBox]) -> None:
    box = opened(read_rules([{"to": "PACS", "Modality": "MR"}], {"PACS": KnownPeer("PACS", "pacs", 104)}))
    archive.put(ct_series(2))
    assert box.absorb() == set()
    assert archive.catalogue.lag(CONSUMER) == 0


def test_a_correction_is_forwarded_too(archive: Shelves, opened: Callable[..., ForwardBox]) -> None:
    box = opened()
    [file] = ct_series(1)
    archive.put([file])
    archive.put([edited(file, rename("Roe^Jane"))])
    box.absorb()
    assert sorted(one.version for one in box.batch("PACS", 10)) == [1, 2]


def test_it_stays_until_it_is_done(archive: Shelves, opened: Callable[..., ForwardBox]) -> None:
    box = opened()
    archive.put(ct_series(3))
    box.absorb()
    first, second, third = box.batch("PACS", 10)
    box.done(second)
    box.refused(first, "it cannot process this [C000]")
    box = opened()
    assert [(one.id, one.refusals) for one in box.batch("PACS", 10)] == [(third.id, 0), (first.id, 1)]
    [stock] = box.stock()
    assert (stock.instances, stock.refused, stock.reason) == (2, 1, "it cannot process this [C000]")


def test_a_crash_between_rows_and_events(
    archive: Shelves, opened: Callable[..., ForwardBox], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = opened()
    archive.put(ct_series(2))
    with monkeypatch.context() as crash:

        def cut(*_: object) -> None:
            raise BackendFailed("the power was cut")

        crash.setattr(archive.catalogue, "acknowledge", cut)
        with pytest.raises(BackendFailed):
            box.absorb()
    box = opened()
    box.absorb()
    assert len(waiting(box)) == 2


def test_a_damaged_file_is_begun_anew_with_what_came_lately(
    archive: Shelves, opened: Callable[..., ForwardBox], tmp_path: Path
) -> None:
    box = opened()
    archive.put(ct_series(3))
    box.absorb()
    for one in box.batch("PACS", 10):
        box.done(one)
    box.close()
    (tmp_path / "forward.sqlite").write_bytes(b"no database" * 1000)
    metrics = Metrics()
    box = opened(metrics=metrics)
    assert len(waiting(box)) == 3
    assert metrics.value(EDGE_FILES_SET_ASIDE, file="forward") == 1
