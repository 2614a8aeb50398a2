from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearframe import __version__, cli
from nearframe.cli import build_parser, main, version
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


@pytest.mark.parametrize(
    ("words", "attribute", "expected"),
    [
        (
            "correct move 1.2 --series 1.3 --to-new AccessionNumber=A-8 --reason x",
            "attributes",
            ["AccessionNumber=A-8"],
        ),
        ("correct set 1.2 A=1 --reason x B=2", "attributes", ["A=1", "B=2"]),
        ("import a --to http://node b", "sources", [Path("a"), Path("b")]),
    ],
)
def test_words_may_stand_among_the_options(words: str, attribute: str, expected: list[object]) -> None:
    arguments = words.split()
    assert getattr(build_parser(arguments[0]).parse_args(arguments), attribute) == expected


@pytest.mark.parametrize("words", ["correct set 1.2 A=1 --reason x --oops B=2", "dicom echo PACS@host 104"])
def test_a_word_too_many_is_an_error_of_its_command(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = words.split()
    with pytest.raises(SystemExit):
        build_parser(arguments[0]).parse_args(arguments)
    assert f"nearframe {' '.join(arguments[:2])}: error: unrecognized arguments" in capsys.readouterr().err


def test_every_command_file_is_offered() -> None:
    files = {path.stem for path in Path(cli.__file__).parent.glob("[!_]*.py")}
    assert {f"{name}_" if name == "import" else name for name in cli.COMMANDS} == files
