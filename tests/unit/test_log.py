from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from nearframe import log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_text_lines_have_fields_as_words(stream: io.StringIO) -> None:
    log.configure("info", "text", stream)
    log.logger("nearframe.part").info("group_synced", instances=3, seconds=0.25, state="two words", held=True)
    line = stream.getvalue()
    assert line.endswith('info    nearframe.part: group_synced instances=3 seconds=0.25 state="two words" held=True\n')


def test_json_lines_are_objects(stream: io.StringIO) -> None:
    log.configure("info", "json", stream)
    log.logger("nearframe.part").warning("slow", seconds=1.5)
    entry = json.loads(stream.getvalue())
    assert entry["time"].endswith("Z")
    del entry["time"]
    assert entry == {"level": "warning", "logger": "nearframe.part", "event": "slow", "seconds": 1.5}


def test_below_the_level_nothing_is_written(stream: io.StringIO) -> None:
    log.configure("warning", "text", stream)
    log.logger("nearframe.part").info("quiet")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("style", ["text", "json"])
def test_errors_say_where_but_not_what_they_held(stream: io.StringIO, style: str) -> None:
    log.configure("info", style, stream)
    try:
        raise ValueError("no 1.2.840.113619.2.1 of Doe^Jane Q^^Dr^")
    except ValueError as error:
        log.logger("nearframe.part").error("failed", error=error)
    text = stream.getvalue()
    assert "test_log.py" in text
    assert "ValueError: no <uid> of <name>" in text


def test_exceptions_of_other_libraries_lose_their_message(stream: io.StringIO) -> None:
    log.configure("info", "text", stream)
    try:
        raise KeyError("Doe^Jane")
    except KeyError:
        logging.getLogger("other").exception("went wrong for 1.2.3.4.5.6")
    text = stream.getvalue()
    assert "<uid>" in text
    assert "Jane" not in text


@pytest.mark.parametrize(
    ("text", "blanked"),
    [
        ("study 1.2.840.10008.5.1.4.1.1.2 of", "study <uid> of"),
        ("/studies/1.3.6.1.4.1.5962/series/2.25.1.1.1.1?x", "/studies/<uid>/series/<uid>?x"),
        ("127.0.0.1:8042 and 3.11.7", "127.0.0.1:8042 and 3.11.7"),
        ("Authorization: Bearer abc.def-ghi=", "Authorization: Bearer <token>"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig-nature", "<token>"),
        ("postgresql://user:secret@host/db", "postgresql://<credentials>@host/db"),
        ("name=Doe^Jane", "name=<name>"),
        ("name=Yamada^Tarou=山田^太郎", "name=<name>"),
        ("?PatientID=123&limit=5", "?PatientID=<blank>&limit=5"),
    ],
)
def test_blank(text: str, blanked: str) -> None:
    assert log.blank(text) == blanked


FORBIDDEN = ("uid", "patient", "name", "token", "accession", "url", "path", "query")
ALLOWED = {"task_name", "field_name"}


def test_no_call_logs_an_identifier(root: Path) -> None:
    """Grep the source: no log call has a field that is called like an identifier, or builds its event from values."""
    offenders = []
    for path in (root / "src").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if _is_log_call(call):
                assert isinstance(call, ast.Call)
                fields = {word.arg or "**" for word in call.keywords} - ALLOWED
                suspicious = [name for name in fields if any(part in name.lower() for part in FORBIDDEN)]
                built = not call.args or not isinstance(call.args[0], ast.Constant)
                if suspicious or built:
                    offenders.append(f"{path.name}:{call.lineno} {suspicious or 'event is not a constant'}")
    assert not offenders


def _is_log_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("debug", "info", "warning", "error", "exception", "critical")
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("_log", "log", "logger", "logging", "LOG")
    )
