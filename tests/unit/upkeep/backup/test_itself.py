from __future__ import annotations

import subprocess
import sys

import pytest

from nearframe.upkeep.backup.itself import has_ended, own_name


def test_this_process_runs() -> None:
    assert own_name()
    assert not has_ended(own_name())


def test_one_that_has_ended() -> None:
    program = "from nearframe.upkeep.backup.itself import own_name; print(own_name())"
    name = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert name
    assert has_ended(name)


def test_another_one_has_its_number_now() -> None:
    place = own_name().rpartition(":")[0]
    assert has_ended(f"{place}:1")


@pytest.mark.parametrize("name", ["", "elsewhere:1:2:3", "x", ":::"])
def test_of_others_nothing_is_known(name: str) -> None:
    assert not has_ended(name)
