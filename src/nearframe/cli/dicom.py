"""``nearframe dicom``: what an engineer asks a DICOM peer when something does not work."""

from __future__ import annotations

import argparse
import asyncio
import time

from nearframe.cli._dicom_commit import add_commit
from nearframe.cli._dicom_peer import add_peer_options, peer_of, timeouts_of
from nearframe.cli._dicom_query import add_find, add_worklist
from nearframe.cli._dicom_retrieve import add_get, add_move
from nearframe.cli._dicom_send import add_send
from nearframe.cli._output import Subparsers, add_parser, print_json
from nearframe.dimse import words
from nearframe.dimse.items import UserInformation
from nearframe.dimse.scu import UNCOMPRESSED, VERIFICATION, associate
from nearframe.units import format_size

EXIT_FAILED = 1


def add_subparser(subparsers: Subparsers, what: str) -> None:
    parser = add_parser(
        subparsers,
        "dicom",
        what,
        "A peer is named TITLE@HOST:PORT, or by its AE title if it is among the [[peers]] of the settings.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    echo = add_parser(commands, "echo", "see whether a peer answers (C-ECHO), and who it says it is")
    add_peer_options(echo, timeout_s=10)
    echo.set_defaults(run=run_echo)
    add_send(commands)
    add_find(commands)
    add_get(commands)
    add_move(commands)
    add_worklist(commands)
    add_commit(commands)


def run_echo(options: argparse.Namespace) -> int:
    started = time.monotonic()
    status, told = asyncio.run(_echo(options))
    took_ms = (time.monotonic() - started) * 1000
    if options.json:
        print_json(
            {
                "status": status,
                "meaning": words.status(status),
                "ms": round(took_ms, 1),
                "implementation_class_uid": told.implementation_class_uid,
                "implementation_version": told.implementation_version,
                "max_pdu_bytes": told.max_pdu_bytes,
            }
        )
    else:
        who = told.implementation_version or told.implementation_class_uid
        largest = format_size(told.max_pdu_bytes) if told.max_pdu_bytes else "any length"
        print(f"{words.status(status)} [{status:04X}] in {took_ms:.0f} ms; it is {who}, and reads PDUs of {largest}")
    return 0 if words.is_success(status) else EXIT_FAILED


async def _echo(options: argparse.Namespace) -> tuple[int, UserInformation]:
    contexts = [(VERIFICATION, UNCOMPRESSED)]
    async with associate(peer_of(options), contexts, timeouts=timeouts_of(options)) as user:
        agreement = user.association.agreement
        return await user.echo(), agreement.answer.user if agreement else UserInformation()
