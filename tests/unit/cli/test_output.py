"""Tables: what is cut where a terminal is narrow, and what never is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nearframe.cli import _output

UID = "1.2.826.0.1.3680043.8.498." + "6" * 38
ROW = ("20210902", "d2n_Philips_3T_R571 and more of it", 256, UID)
COLUMNS = ("date", "description", "instances>", "study instance UID")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[int], str]:
    """Print the row on a terminal so wide."""

    def print_on(columns: int) -> str:
        monkeypatch.setattr(_output, "_WIDTH_OF_PIPES", columns)
        _output.print_table(None, COLUMNS, [ROW])
        return capsys.readouterr().out.splitlines()[1]

    return print_on


def test_a_pipe_gets_whole_values(shown: Callable[[int], str]) -> None:
    line = shown(_output._WIDTH_OF_PIPES)
    assert line.split("  ", 2) == ["20210902", ROW[1], f"      256  {UID}"]


@pytest.mark.parametrize("columns", [110, 100, 80, 20])
def test_dates_numbers_and_uids_are_never_cut(shown: Callable[[int], str], columns: int) -> None:
    line = shown(columns)
    assert line.startswith("20210902  d2n_Philips")
    assert "…" in line
    assert " 256  " in line
    assert line.endswith(UID)


def test_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    _output.print_table(None, COLUMNS, [])
    assert capsys.readouterr().out.split() == ["date", "description", "instances", "study", "instance", "UID"]
