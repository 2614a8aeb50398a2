"""Fuzzing guided by coverage (atheris): ``python -m tests.drills.fuzzing TARGET [options of libFuzzer] FOLDER``.

The folder holds what to begin with, and gets what was found to be new. Any error but those of the reader's
own, a hang, or memory without bound ends it with another code than 0.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["nearframe"]):
    from nearframe.dicom.filemeta import file_meta
    from nearframe.dicom.limits import Limits
    from nearframe.dicom.source import BytesSource
    from nearframe.dicom.split import read_piece, split
    from nearframe.dimse.command import Command, CommandField, Field
    from nearframe.dimse.identifiers import keys_of, read_identifier
    from nearframe.dimse.items import Proposed, UserInformation
    from nearframe.dimse.messages import Assembler
    from nearframe.dimse.negotiation import check_request
    from nearframe.dimse.pdu import AssociateRQ, ReleaseRQ, write_data_header
    from nearframe.dimse.stream import PDUStream, Piece
    from nearframe.errors import LimitExceeded, MalformedDICOM, MalformedPDU, MissingIdentifier
    from nearframe.units import MIB

from tests.integration.dimse.test_workflow import data_set_of
from tests.syncing import ct_series

_CT: Final = "1.2.840.10008.5.1.4.1.1.2"
#: Chosen by the first byte: implicit, explicit, explicit big endian, deflated, JPEG 2000.
_SYNTAXES: Final = tuple(f"1.2.840.10008.1.2{suffix}" for suffix in ("", ".1", ".2", ".1.99", ".4.90"))
_LIMITS: Final = Limits(max_instance_bytes=MIB, max_inflated_bytes=8 * MIB, max_parse_seconds=5.0)


def pdus(data: bytes) -> None:
    """Read what a peer sends, in pieces as long as the first byte says."""
    stream, messages = PDUStream(4096), Assembler()
    view, step = memoryview(data)[1:], (data[0] if data else 0) + 1
    with suppress(MalformedPDU):
        for at in range(0, len(view), step):
            for found in stream.feed(view[at : at + step]):
                if isinstance(found, Piece):
                    list(messages.add(found))
                elif isinstance(found, AssociateRQ):
                    check_request(found)


def data_sets(data: bytes) -> None:
    """Take an object apart that comes by C-STORE."""
    syntax = _SYNTAXES[(data[0] if data else 0) % len(_SYNTAXES)]
    source = BytesSource(file_meta(_CT, "1.2.3", syntax) + data[1:])
    with suppress(MalformedDICOM, LimitExceeded, MissingIdentifier):
        instance = split(source, _LIMITS)
        for piece in instance.pieces:
            for _ in read_piece(instance, source, piece):
                pass


def identifiers(data: bytes) -> None:
    """Read the identifier of a query."""
    with suppress(MalformedDICOM, LimitExceeded):
        keys_of(read_identifier(data[1:], _SYNTAXES[(data[0] if data else 0) % 2]))


def _messages() -> bytes:
    store = Command.request(CommandField.C_STORE_RQ, 1, {Field.AFFECTED_SOP_INSTANCE_UID: "1.2.3"}, has_data=True)
    command = store.encode()
    return b"".join(
        (
            AssociateRQ("A", "B", UserInformation(4096), contexts=(Proposed(1, _CT, _SYNTAXES),)).encode(),
            write_data_header(1, len(command), is_command=True, is_last=True) + command,
            write_data_header(1, 100, is_command=False, is_last=False) + bytes(100),
            write_data_header(1, 0, is_command=False, is_last=True),
            ReleaseRQ().encode(),
        )
    )


def _query() -> bytes:
    return struct.pack("<HH2sH", 8, 0x52, b"CS", 6) + b"STUDY " + struct.pack("<HH2sH", 16, 16, b"PN", 4) + b"Do* "


TARGETS: Final[dict[str, tuple[Callable[[bytes], None], Callable[[], bytes]]]] = {
    "pdus": (pdus, lambda: b"\x40" + _messages()),
    "data_sets": (data_sets, lambda: b"\1" + data_set_of(ct_series(1, rows=4)[0])),
    "identifiers": (identifiers, lambda: b"\1" + _query()),
}


def main(name: str, *options: str) -> None:
    target, seed = TARGETS[name]
    Path(options[-1], "seed").write_bytes(seed())
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
