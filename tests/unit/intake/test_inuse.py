"""Contents are not let go while something of their study is taken in."""

from __future__ import annotations

import threading

import pytest

from nearframe.errors import Busy
from nearframe.intake.inuse import StudiesInUse
from nearframe.storage.ports import StudyRef

STUDY, OTHER = StudyRef("main", "1.2"), StudyRef("main", "1.3")


def test_nobody_is_alone_with_a_study_in_use() -> None:
    in_use = StudiesInUse()
    in_use.begin(STUDY)
    in_use.begin(STUDY)
    assert STUDY in in_use
    with in_use.alone(OTHER):
        pass
    in_use.end(STUDY)
    with pytest.raises(Busy), in_use.alone(STUDY):
        pass
    in_use.end(STUDY)
    assert STUDY not in in_use
    with in_use.alone(STUDY), pytest.raises(Busy), in_use.alone(STUDY):
        pass


def test_who_takes_in_waits_for_who_lets_go() -> None:
    in_use = StudiesInUse()
    began = threading.Event()

    def take_in() -> None:
        in_use.begin(STUDY)
        began.set()

    with in_use.alone(STUDY):
        thread = threading.Thread(target=take_in)
        thread.start()
        assert not began.wait(0.05)
    assert began.wait(5)
    thread.join()
