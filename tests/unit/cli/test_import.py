"""``nearframe import``: words, JSON and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nearframe import importer
from nearframe.cli import main
from nearframe.errors import UpstreamUnavailable


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> importer.Report:
    """The report that the import is made to return; `asked` collects how it was called."""
    made = importer.Report(found=3, stored=3, stored_bytes=3_000_000, seconds=2.0)

    def run(paths: list[Path], options: importer.Options, progress: importer.Progress) -> importer.Report:
        assert paths == [Path("a"), Path("b")]
        assert options.url == "http://h"
        progress.found(3, 30)
        progress.sent(3, 30)
        progress.searched()
        return made

    monkeypatch.setattr(importer, "run", run)
    return made


COMMAND = ["import", "a", "b", "--to", "http://h"]


def test_all_stored(report: importer.Report, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(COMMAND) == 0
    assert capsys.readouterr().out == "3 of 3 files stored (3.0 MB); 2.0 s, 1.5 MB/s\n"


def test_problems_are_listed_and_change_the_exit_code(
    report: importer.Report, capsys: pytest.CaptureFixture[str]
) -> None:
    report.fail(importer.Problem("disc/IM1", "the server cannot read it", 0xC000))
    report.warn(importer.Problem("disc/IM[2]", "other pixels", 0xB000))
    assert main(COMMAND) == 1
    captured = capsys.readouterr()
    assert "disc/IM1: the server cannot read it [C000]" in captured.err
    assert "disc/IM[2]: other pixels [B000]" in captured.err
    assert "1 with a warning, 1 not stored" in captured.out


def test_a_long_list_is_cut(report: importer.Report, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(25):
        report.fail(importer.Problem(f"IM{number}", "no"))
    main(COMMAND)
    assert "and 5 more" in capsys.readouterr().err


def test_a_server_that_is_away(report: importer.Report, capsys: pytest.CaptureFixture[str]) -> None:
    report.stopped_by = UpstreamUnavailable("the server cannot be reached")
    assert main(COMMAND) == 3
    assert "cannot be reached" in capsys.readouterr().err


def test_json(report: importer.Report, capsys: pytest.CaptureFixture[str]) -> None:
    report.fail(importer.Problem("IM1", "no", 0xA900))
    assert main([*COMMAND, "--json"]) == 1
    read: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (read["found"], read["stored"], read["failed_count"]) == (3, 3, 1)
    assert read["failed"] == [{"file": "IM1", "reason": "no", "code": "A900"}]


@pytest.mark.parametrize(
    "wrong",
    [["import", "--to", "http://h"], ["import", "a"], [*COMMAND, "--parallel", "0"], [*COMMAND, "--retry-for", "x"]],
)
def test_usage(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(wrong)
    assert exit_.value.code == 2


def test_an_interrupted_import_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> importer.Report:
        raise KeyboardInterrupt

    monkeypatch.setattr(importer, "run", interrupted)
    assert main(COMMAND) == 130
    assert "run the same command again" in capsys.readouterr().err
