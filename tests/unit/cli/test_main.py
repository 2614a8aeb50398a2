from __future__ import annotations

import json

import pytest

from nearframe import __version__, cli
from nearframe.cli import main, version
from nearframe.errors import IntegrityError, NotFound, UpstreamUnavailable


def test_version_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["nearframe"] == __version__


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotFound("study"), 2), (UpstreamUnavailable("no answer"), 3), (IntegrityError("digest differs"), 1)],
)
def test_errors_become_one_line_and_an_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_options: object) -> int:
        raise error

    monkeypatch.setattr(version, "run", fail)
    assert main(["version"]) == code
    assert capsys.readouterr().err == f"nearframe: {error}\n"


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2


def test_every_command_file_is_offered() -> None:
    from pathlib import Path

    files = {path.stem for path in Path(cli.__file__).parent.glob("[!_]*.py")}
    assert {f"{name}_" if name == "import" else name for name in cli.COMMANDS} == files
