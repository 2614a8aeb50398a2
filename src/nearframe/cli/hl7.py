"""``nearframe hl7``: what an engineer asks of an HL7 interface when something does not work."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any, Final

from nearframe.cli._client import asks_node, node_of
from nearframe.cli._output import Subparsers, add_json_option, add_parser, print_json, print_table
from nearframe.cli._settings import read_as
from nearframe.cli._values import at_least, moment
from nearframe.dimse.tls import Credentials
from nearframe.errors import ConfigurationError
from nearframe.hl7.client import messages_in, send
from nearframe.hl7.er7 import Message, read_message
from nearframe.settingkinds import ADDRESS, NUMBER

EXIT_REFUSED: Final = 1
_ACCEPTED: Final = ("AA", "CA")


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(subparsers, "hl7", what)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    send_ = add_parser(
        commands,
        "send",
        "send the messages of a file by MLLP, and print what is answered",
        "One after the other, each once the one before is answered; lines may end with LF. The exit code is 1 if one "
        "is not accepted, and those behind it are not sent then.",
    )
    send_.add_argument("file", metavar="FILE", help="a message, or several; - for standard input")
    send_.add_argument("address", metavar="HOST:PORT", type=read_as(ADDRESS), help="who is to have them")
    send_.add_argument(
        "--timeout", type=read_as(NUMBER), default=30.0, metavar="SECONDS", help="how long to wait for an answer (30)"
    )
    send_.add_argument("--tls", action="store_true", help="speak TLS; implied by the next four")
    send_.add_argument("--ca-cert", type=Path, metavar="FILE", help="who signs certificates that we trust (PEM)")
    send_.add_argument("--cert", type=Path, metavar="FILE", help="our certificate, with its chain (PEM)")
    send_.add_argument("--key", type=Path, metavar="FILE", help="its key (PEM), if it is not in the same file")
    send_.add_argument("--tls-name", metavar="NAME", default="", help="what the other's certificate calls it")
    add_json_option(send_)
    send_.set_defaults(run=run_send)
    status = add_parser(commands, "status", "list the messages that a node answered, the latest first, and how")
    status.add_argument("--failed", action="store_true", help="only those that were not accepted")
    status.add_argument("--limit", type=at_least(0), default=20, metavar="N", help="at most this many (20)")
    asks_node(status, run_status)


def run_send(options: argparse.Namespace) -> int:
    told: list[dict[str, Any]] = []
    for message in messages_in(_read(options.file)):
        began = time.monotonic()
        answers = asyncio.run(send(message, options.address, options.timeout, _tls(options), options.tls_name))
        took_ms = (time.monotonic() - began) * 1000
        read = [(answer, read_message(answer)) for answer in answers]
        told += [_answer_json(one, took_ms) for _, one in read]
        if not options.json:
            for answer, one in read:
                _print(answer, one, took_ms)
        if any(_code(one) not in _ACCEPTED for _, one in read):
            break
    if options.json:
        print_json(told)
    elif not told:
        print("Sent; it asks for no answer.")
    return 0 if all(one["code"] in _ACCEPTED for one in told) else EXIT_REFUSED


def _read(file: str) -> bytes:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from error
    if not any(True for _ in messages_in(data)):
        raise ConfigurationError(f"{file}: there is no message in it")
    return data


def _tls(options: argparse.Namespace) -> Any:
    if not (options.tls or options.ca_cert or options.cert or options.key or options.tls_name):
        return None
    if options.key and not options.cert:
        raise ConfigurationError("--key is given and --cert is not: it is the key of a certificate")
    return Credentials(options.cert, options.key, options.ca_cert).for_calling()


def _code(answer: Message) -> str:
    return answer.only("MSA").text(1)


def _answer_json(answer: Message, took_ms: float) -> dict[str, Any]:
    msa, err = answer.only("MSA"), next(answer.every("ERR"), None)
    return {
        "code": msa.text(1),
        "control_id": msa.text(2),
        "says": msa.text(3),
        "error": None if err is None else "|".join(err.fields[1:]),
        "ms": round(took_ms, 1),
    }


def _print(answer: bytes, read: Message, took_ms: float) -> None:
    msa = read.only("MSA")
    print(f"{msa.text(1)} in {took_ms:.0f} ms: {msa.text(3) or 'nothing more is said'}")
    for line in answer.decode("utf-8", "replace").split("\r"):
        if line:
            print(f"  {line}")


def run_status(options: argparse.Namespace) -> int:
    query = {"failed": str(options.failed).lower(), "limit": str(options.limit)}
    with node_of(options) as node:
        found: list[dict[str, Any]] = node.json("/api/hl7/messages", query)["messages"]
    if options.json:
        print_json(found)
    elif not found:
        print("No messages.")
    else:
        columns = ("received", "sender", "control id", "event", "code", "said")
        print_table(None, columns, (_row(one) for one in found))
    return 0


def _row(message: dict[str, Any]) -> tuple[object, ...]:
    received = moment(message["received_at"])
    return received, message["sender"], message["control_id"], message["event"], message["code"], message["says"]
