"""What a peer sends, damaged or made up: read, or refused as malformed; never anything else, and never without end."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.command import Command, CommandField, Field
from nearframe.dimse.fragments import data_pdus
from nearframe.dimse.identifiers import keys_of, read_identifier, read_list, write_identifier
from nearframe.dimse.items import ExtendedNegotiation, Proposed, Role, UserInformation
from nearframe.dimse.messages import MAX_COMMAND_BYTES, Arrived, Assembler, Data
from nearframe.dimse.negotiation import check_request
from nearframe.dimse.pdu import HEADER_BYTES, AssociateRQ, FragmentHeader, PDUType, read_pdu
from nearframe.dimse.stream import PDUStream, Piece
from nearframe.errors import LimitExceeded, MalformedDICOM, MalformedPDU

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
MOST = 300
STORE = Command.request(CommandField.C_STORE_RQ, 1, {Field.AFFECTED_SOP_INSTANCE_UID: "1.2.3"}, has_data=True)

uids = st.integers(0, 10**59).map("1.2.{}".format)
numbers = st.integers(0, 0xFFFF)
titles = st.sampled_from(["A", "CT 1", "SIXTEEN_LETTERS-"])


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return bytes with a few of them changed, left out or put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4) | st.just(b"\xff\xff\xff\xff"))
    return bytes(data)


def message(context_id: int, command: Command, data: list[bytes]) -> bytes:
    """Return the PDUs of a message whose data set comes in chunks."""

    async def chunks() -> Any:
        for chunk in data:
            yield chunk

    async def whole() -> bytes:
        return b"".join([b"".join(pdu) async for pdu in data_pdus(context_id, command.encode(), chunks(), MOST)])

    return asyncio.run(whole())


def received(data: bytes, cuts: list[int]) -> list[Arrived | Data]:
    """Return what comes of bytes that arrive in pieces."""
    stream, messages = PDUStream(MOST), Assembler()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found: list[Arrived | Data] = []
    for start, stop in itertools.pairwise(edges):
        for piece in stream.feed(memoryview(data)[start:stop]):
            if isinstance(piece, Piece):
                found += messages.add(piece)
    return found


cuts = st.lists(st.integers(0, 10_000), max_size=8)


@given(st.lists(st.binary(max_size=2000), max_size=5), cuts)
def test_a_data_set_arrives_as_it_was_sent(chunks: list[bytes], cuts: list[int]) -> None:
    arrived, *parts = received(message(3, STORE, chunks), cuts)
    assert arrived == Arrived(3, STORE)
    data = [part for part in parts if isinstance(part, Data)]
    assert b"".join(part.data for part in data) == b"".join(chunks)
    assert [part.is_last for part in data] == [False] * (len(data) - 1) + [True]


@given(damaged(message(1, STORE, [bytes(500), b"x" * 300]) * 2), cuts)
def test_damaged_messages(data: bytes, cuts: list[int]) -> None:
    with suppress(MalformedPDU):
        received(data, cuts)


pieces = st.builds(
    lambda data, context_id, is_command, is_last, is_end: Piece(
        FragmentHeader(len(data), context_id, is_command, is_last), memoryview(data), is_end
    ),
    st.sampled_from([STORE.encode(), STORE.encode()[:9], b""]) | st.binary(max_size=40),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(pieces, max_size=30))
def test_any_pieces_in_any_order(pieces: list[Piece]) -> None:
    """A data set comes behind its command only, and within its context."""
    messages, context_id = Assembler(), None
    with suppress(MalformedPDU):
        for piece in pieces:
            for found in messages.add(piece):
                if isinstance(found, Data):
                    assert piece.header.context_id == context_id
                    context_id = None if found.is_last else context_id
                else:
                    assert context_id is None
                    assert len(found.command.encode()) <= MAX_COMMAND_BYTES
                    context_id = piece.header.context_id if found.command.has_data else None


proposed = st.builds(
    Proposed, st.sampled_from(range(1, 256, 2)), uids, st.lists(uids, min_size=1, max_size=3).map(tuple)
)
users = st.builds(
    UserInformation,
    st.integers(0, 2**32 - 1),
    uids,
    titles,
    st.none() | st.tuples(numbers, numbers),
    st.lists(st.builds(Role, uids, st.booleans(), st.booleans()), max_size=2).map(tuple),
    st.lists(st.builds(ExtendedNegotiation, uids, st.binary(max_size=20)), max_size=2).map(tuple),
)
requests = st.builds(AssociateRQ, titles, titles, users, contexts=st.lists(proposed, max_size=3).map(tuple))
REQUEST = AssociateRQ(
    "ARCHIVE",
    "CT 1",
    UserInformation(
        16384, window=(4, 1), roles=(Role("1.2.3", True, True),), extended=(ExtendedNegotiation("1.2", b""),)
    ),
    contexts=(Proposed(1, "1.2.3", (EXPLICIT, IMPLICIT)), Proposed(3, "1.2.4", (EXPLICIT,))),
)


@given(requests)
def test_a_request_is_read_as_it_was_written(request: AssociateRQ) -> None:
    assert read_pdu(PDUType.ASSOCIATE_RQ, request.encode()[HEADER_BYTES:]) == request


@given(damaged(REQUEST.encode()[HEADER_BYTES:]))
def test_a_damaged_request(data: bytes) -> None:
    with suppress(MalformedPDU):
        request = read_pdu(PDUType.ASSOCIATE_RQ, data)
        assert isinstance(request, AssociateRQ)
        check_request(request)


@given(damaged(STORE.encode()))
def test_a_damaged_command(data: bytes) -> None:
    with suppress(MalformedPDU):
        command = Command.decode(data)
        assert Command.decode(command.encode()).kind is command.kind


IDENTIFIER: DICOMJSON = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080052": {"vr": "CS", "Value": ["STUDY"]},
    "00080061": {"vr": "CS", "Value": ["CT", "MR"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller*", "Ideographic": "山田"}]},
    "00400275": {"vr": "SQ", "Value": [{"00400007": {"vr": "LO", "Value": ["thorax"]}}]},
}


@given(
    st.sampled_from([EXPLICIT, IMPLICIT]).flatmap(
        lambda uid: st.tuples(st.just(uid), damaged(write_identifier(IDENTIFIER, uid)))
    )
)
def test_a_damaged_identifier(damaged: tuple[str, bytes]) -> None:
    transfer_syntax, data = damaged
    for read in (read_identifier, read_list):
        with suppress(MalformedDICOM, LimitExceeded):
            assert all(isinstance(value, str) for _, value in keys_of(read(data, transfer_syntax)))


@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT]))
def test_any_bytes_for_an_identifier(data: bytes, transfer_syntax: str) -> None:
    with suppress(MalformedDICOM, LimitExceeded):
        keys_of(read_identifier(data, transfer_syntax))
