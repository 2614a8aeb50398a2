"""When a series is complete, with a clock that is turned by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom.place import Place
from nearframe.intake.seriesend import LEAST_IDLE_S, LONGEST_IDLE_S, Reason, SeriesEnd, SeriesEnds, SeriesKey

KEY = SeriesKey("main", "1.2", "1.2.3")
OTHER = SeriesKey("main", "1.2", "1.2.4")


class Scene:
    """Ends of series, and what happens one after the other."""

    def __init__(self) -> None:
        self.ends = SeriesEnds()
        self.now_s = 100.0
        self.event = 0

    def slices(self, *numbers: int, key: SeriesKey = KEY, every_s: float = 0.01, expected: int | None = None) -> None:
        for number in numbers:
            self.event += 1
            self.now_s += every_s
            place = Place(number, number * 1.5, expected)
            self.ends.arrived(key, f"{key.series}.{number}", place, self.event, self.now_s)

    def listed(self, reason: Reason, numbers: range, held: range) -> None:
        self.event += 1
        uids = [f"1.2.3.{number}" for number in numbers]
        self.ends.listed(reason, "main", uids, {f"1.2.3.{n}": KEY for n in held}, self.event, self.now_s)

    def due(self, after_s: float = 0.0) -> list[tuple[Reason, int, int]]:
        self.now_s += after_s
        return [(end.reason, end.instances, end.take) for end in self.ends.due(self.now_s)]


def test_silence_ends_a_series_at_last() -> None:
    scene = Scene()
    scene.slices(1, 2, 3)
    assert scene.due(LEAST_IDLE_S - 0.01) == []
    assert scene.due(0.02) == [(Reason.IDLE, 3, 1)]
    assert scene.due(100) == []
    assert scene.ends.next_s() is None


def test_a_slow_scanner_is_given_more_time_up_to_a_limit() -> None:
    scene = Scene()
    scene.slices(1, 2, 3, 4, every_s=0.4)
    assert scene.due(LEAST_IDLE_S) == []
    slow = scene.ends.next_s()
    assert slow is not None
    assert scene.now_s < slow <= scene.now_s + LONGEST_IDLE_S
    assert scene.due(LONGEST_IDLE_S) == [(Reason.IDLE, 4, 1)]


def test_of_a_single_instance_no_pace_is_known() -> None:
    scene = Scene()
    scene.slices(1)
    assert scene.due(LONGEST_IDLE_S - 0.1) == []
    assert scene.due(0.1) == [(Reason.IDLE, 1, 1)]


def test_a_late_slice_opens_the_series_again() -> None:
    scene = Scene()
    scene.slices(1, 2)
    scene.due(1)
    scene.slices(3, every_s=5)
    assert scene.ends.oldest_event() == 3
    assert scene.due(LONGEST_IDLE_S) == [(Reason.IDLE, 3, 2)]


def test_a_release_ends_provisionally_and_a_procedure_step_confirms() -> None:
    scene = Scene()
    scene.slices(1, 2)
    scene.ends.sending(KEY, "a")
    scene.ends.left("a", is_released=True)
    assert scene.due() == [(Reason.RELEASE, 2, 1)]
    scene.listed(Reason.STEP, range(1, 3), range(1, 3))
    assert scene.due() == [(Reason.STEP, 2, 1)]
    scene.listed(Reason.COMMITMENT, range(1, 3), range(1, 3))
    assert scene.due(100) == []


def test_the_last_of_several_associations_ends_it() -> None:
    scene = Scene()
    scene.slices(1)
    scene.ends.sending(KEY, "a")
    scene.slices(2)
    scene.ends.sending(KEY, "b")
    scene.ends.left("a", is_released=True)
    assert scene.due() == []
    scene.ends.left("b", is_released=True)
    assert scene.due() == [(Reason.RELEASE, 2, 1)]


def test_an_abort_ends_nothing() -> None:
    scene = Scene()
    scene.slices(1, 2)
    scene.ends.sending(KEY, "a")
    scene.ends.left("a", is_released=False)
    assert scene.due() == []
    assert scene.due(LEAST_IDLE_S) == [(Reason.IDLE, 2, 1)]


def test_a_scanner_with_an_association_for_each_image_is_believed_once() -> None:
    scene = Scene()
    found = []
    for number in range(1, 6):
        scene.slices(number)
        scene.ends.sending(KEY, f"association {number}")
        scene.ends.left(f"association {number}", is_released=True)
        found += scene.due()
    assert found == [(Reason.RELEASE, 1, 1)]
    assert scene.due(LONGEST_IDLE_S) == [(Reason.IDLE, 5, 2)]


def test_a_procedure_step_waits_for_what_it_lists() -> None:
    scene = Scene()
    scene.slices(1)
    scene.listed(Reason.STEP, range(1, 4), range(1, 2))
    assert scene.due() == []
    scene.slices(2, 3)
    assert scene.due() == [(Reason.STEP, 3, 1)]


def test_what_a_list_named_opens_nothing_again_though_its_event_comes_later() -> None:
    scene = Scene()
    scene.slices(1)
    scene.listed(Reason.STEP, range(1, 3), range(1, 3))
    assert scene.due() == [(Reason.STEP, 2, 1)]
    scene.slices(2)
    assert scene.due(100) == []


def test_a_commitment_of_a_part_is_no_end() -> None:
    scene = Scene()
    scene.slices(1, 2)
    scene.listed(Reason.COMMITMENT, range(1, 2), range(1, 2))
    assert scene.due() == []
    scene.listed(Reason.COMMITMENT, range(2, 3), range(2, 3))
    assert scene.due() == [(Reason.COMMITMENT, 2, 1)]


def test_a_count_without_a_gap() -> None:
    scene = Scene()
    scene.slices(1, 2, 4, expected=4)
    assert scene.due() == []
    scene.slices(3, expected=4)
    assert scene.due() == [(Reason.COUNT, 4, 1)]


def test_a_count_with_a_gap_is_no_end() -> None:
    scene = Scene()
    scene.slices(1, 2, 4, 5, expected=4)
    assert scene.due() == []
    assert scene.due(LEAST_IDLE_S) == [(Reason.IDLE, 4, 1)]


def test_series_are_apart() -> None:
    scene = Scene()
    scene.slices(1, 2)
    scene.slices(1, 2, key=OTHER, every_s=0.3)
    assert scene.due() == [(Reason.IDLE, 2, 1)]
    assert scene.ends.oldest_event() == 3


def test_what_comes_again_keeps_a_series_open() -> None:
    scene = Scene()
    scene.slices(1, 2)
    scene.now_s += 0.4
    scene.ends.repeated(KEY, scene.now_s)
    assert scene.due(0.4) == []
    assert scene.due(0.2) == [(Reason.IDLE, 2, 1)]


def test_after_a_restart_what_was_made_known_is_not_again() -> None:
    scene = Scene()
    scene.slices(1, 2)
    scene.slices(1, key=OTHER)
    scene.ends.recorded(SeriesEnd(KEY, Reason.STEP, 2, 1, through=2))
    assert [end.key for end in scene.ends.due(scene.now_s + 10)] == [OTHER]


def test_after_a_restart_a_late_slice_counts_as_another_take() -> None:
    scene = Scene()
    scene.slices(1, 2)
    scene.ends.recorded(SeriesEnd(KEY, Reason.IDLE, 1, 1, through=1))
    assert scene.due(LONGEST_IDLE_S) == [(Reason.IDLE, 2, 2)]


def test_what_is_remembered_is_bounded() -> None:
    scene = Scene()
    for number in range(5000):
        scene.slices(1, key=SeriesKey("main", "1.2", f"9.{number}"))
    assert len(scene.ends._series) <= 4096
    assert len(scene.due(LONGEST_IDLE_S)) == 5000


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 10)), min_size=1, max_size=60))
def test_whatever_the_order_a_series_ends_after_its_last_slice(steps: list[tuple[int, float]]) -> None:
    scene = Scene()
    found = []
    for number, pause_s in steps:
        scene.slices(number, every_s=pause_s)
        found += scene.due()
    found += scene.due(LONGEST_IDLE_S)
    assert found[-1][1] == len({number for number, _ in steps})
    takes = [take for _, _, take in found]
    assert takes == sorted(set(takes))
    assert scene.ends.oldest_event() is None
