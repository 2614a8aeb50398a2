"""``nearframe hl7`` against a running origin, and against what is none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nearframe.cli import main
from nearframe.hl7.client import messages_in
from nearframe.hl7.mllp import framed
from tests.hl7messages import adt, pid
from tests.integration.conftest import Running

RIGHT, WRONG = adt("A08", pid("P1"), control_id="right"), adt("A08", pid(""), control_id="wrong")
ENHANCED = adt("A08", pid("P1"), control_id="both", more="|||AL|AL")


@pytest.fixture(scope="module")
def node(start: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory) -> Running:
    return start("origin", tmp_path_factory.mktemp("hl7"), "--hl7", "127.0.0.1:0")


def address_of(node: Running) -> str:
    return node.line.rpartition("HL7 at ")[2].strip()


@pytest.fixture
def send(node: Running, tmp_path: Path) -> Callable[..., int]:
    def send(data: bytes, *options: str) -> int:
        (tmp_path / "message.hl7").write_bytes(data)
        return main(["hl7", "send", str(tmp_path / "message.hl7"), address_of(node), *options])

    return send


def test_the_answer_is_printed(send: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert send(RIGHT.replace(b"\r", b"\n")) == 0
    out = capsys.readouterr().out
    assert out.startswith("AA in ")
    assert "MSA|AA|right|nothing is held of this patient" in out
    assert send(WRONG) == 1
    assert "ERR||PID^1^3|101^" in capsys.readouterr().out


def test_a_file_of_several_messages(send: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert send(RIGHT + ENHANCED + framed(WRONG) + RIGHT, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert [(one["code"], one["control_id"]) for one in told] == [
        ("AA", "right"),
        ("CA", "both"),
        ("AA", "both"),
        ("AE", "wrong"),
    ]
    assert told[-1]["error"].startswith("|PID^1^3|101^")


def test_what_was_answered_is_listed(
    node: Running, send: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    send(RIGHT)
    send(WRONG)
    capsys.readouterr()
    assert main(["hl7", "status", "--url", node.url, "--json"]) == 0
    latest = json.loads(capsys.readouterr().out)
    assert (latest[0]["control_id"], latest[0]["code"], latest[0]["event"]) == ("wrong", "AE", "ADT^A08")
    assert main(["hl7", "status", "--url", node.url, "--failed"]) == 0
    out = capsys.readouterr().out
    assert "there is no identifier of the patient" in out
    assert "right" not in out
    assert main(["conflicts", "patients", "--url", node.url]) == 0
    assert "No study" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "options", "code", "says"),
    [
        (b"", (), 2, "no message"),
        (b"PID|1", (), 2, "no message"),
        (RIGHT, ("--key", "lost.pem"), 2, "--cert is not"),
        (RIGHT, ("--tls",), 3, "TLS with"),
    ],
)
def test_what_cannot_be_sent(
    send: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    data: bytes,
    options: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    assert send(data, *options) == code
    assert says in capsys.readouterr().err


async def test_who_does_not_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "message.hl7").write_bytes(RIGHT)

    async def sent(*options: str) -> int:
        words = ["hl7", "send", str(tmp_path / "message.hl7"), f"127.0.0.1:{port}", *options]
        return await asyncio.to_thread(main, words)

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for behave, says in ((close, "closed without an answer"), (ignore, "does not answer within 0.05 s")):
        async with await asyncio.start_server(behave, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            assert await sent("--timeout", "0.05" if behave is ignore else "20") == 3
        assert says in capsys.readouterr().err
    assert await sent() == 3
    assert "cannot be reached: nobody listens there" in capsys.readouterr().err


def test_messages_in_a_file() -> None:
    crlf = RIGHT.replace(b"\r", b"\r\n")
    assert list(messages_in(crlf + b"\r\n" + framed(ENHANCED) + WRONG.strip())) == [RIGHT, ENHANCED, WRONG]
    batch = b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + RIGHT + WRONG + b"BTS|2\rFTS|1\r"
    assert list(messages_in(batch)) == [RIGHT, WRONG]
    assert list(messages_in(b"\r\n\r\n")) == []
