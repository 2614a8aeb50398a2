"""``nearframe dicom commit``: have a peer promise that it keeps what it was sent (storage commitment)."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from nearframe.cli._dicom_peer import add_peer_options, known_peer_of
from nearframe.cli._dicom_send import look_into
from nearframe.cli._output import Subparsers, add_parser, print_json
from nearframe.cli._settings import settings_from
from nearframe.dimse.peers import KnownPeer
from nearframe.dimse.scu_commit import Committed, Reference, commit
from nearframe.errors import ConfigurationError
from nearframe.settingkinds import Address
from nearframe.units import counted

EXIT_NOT_KEPT: Final = 1
#: In one transaction: some peers take no more.
_AT_ONCE: Final = 1000


def add_commit(commands: Subparsers) -> None:
    parser = add_parser(
        commands,
        "commit",
        "ask whether a peer keeps what it was sent (storage commitment)",
        "The exit code is 1 if it does not keep all of it. Files are only looked into, not sent.",
    )
    add_peer_options(parser, timeout_s=60)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="the files that were sent, or folders")
    parser.add_argument(
        "--listen", metavar="HOST:PORT", help="where the peer reaches us if it answers on an association of its own"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    references = [(one.sop_class_uid, one.sop_instance_uid) for one in look_into(options.paths).files]
    if not references:
        raise ConfigurationError("there is no DICOM file at these paths")
    try:
        listen = Address.parse(options.listen) if options.listen else None
    except ValueError as error:
        raise ConfigurationError(f"--listen: {error}") from error
    our_title = settings_from(options).ae_title
    found = asyncio.run(_commit(known_peer_of(options), our_title, references, options.timeout, listen))
    if options.json:
        failed = [{"sop_instance_uid": uid, "reason": reason} for uid, reason in found.failed]
        print_json({"asked": len(references), "kept": len(found.kept), "failed": failed})
    else:
        for uid, reason in found.failed:
            print(f"not kept: {uid}: {reason}", file=sys.stderr)
        print(f"{len(found.kept)} of {counted(len(references), 'instance')} kept for certain")
    return 0 if set(found.kept) >= {uid for _, uid in references} else EXIT_NOT_KEPT


async def _commit(
    known: KnownPeer, our_title: str, references: list[Reference], wait_s: float, listen: Address | None
) -> Committed:
    peer = known.as_called_by(our_title)
    listen_tls = known.tls.for_listening() if known.tls and listen else None
    kept: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    for start in range(0, len(references), _AT_ONCE):
        some = references[start : start + _AT_ONCE]
        answer = await commit(peer, some, wait_s=wait_s, listen=listen, listen_tls=listen_tls)
        kept, failed = kept + answer.kept, failed + answer.failed
    return Committed(kept, failed)
