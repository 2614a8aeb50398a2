"""Protocol data units: the same tables both ways."""

from __future__ import annotations

import pytest

from nearframe.dimse.items import (
    APPLICATION_CONTEXT,
    ExtendedNegotiation,
    Proposed,
    Result,
    Role,
    UserInformation,
    read_items,
    write_item,
)
from nearframe.dimse.pdu import (
    Abort,
    AbortReason,
    AbortSource,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PDUType,
    Rejection,
    RejectResult,
    ReleaseRP,
    ReleaseRQ,
    SmallPDU,
    read_fragment_header,
    read_header,
    read_pdu,
    write_data_header,
)
from nearframe.errors import MalformedPDU

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
REQUEST = AssociateRQ(
    "ARCHIVE",
    "CT SCANNER 1",
    UserInformation(
        max_pdu_bytes=16384,
        window=(8, 1),
        roles=(Role(CT, is_scu=True, is_scp=True),),
        extended=(ExtendedNegotiation(CT, b"\1\0\1"),),
    ),
    contexts=(Proposed(1, CT, (EXPLICIT, IMPLICIT)), Proposed(255, CT, (IMPLICIT,))),
)
ANSWER = AssociateAC(
    "ARCHIVE",
    "CT SCANNER 1",
    UserInformation(max_pdu_bytes=262144),
    results=(Result(1, 0, EXPLICIT), Result(255, 4, IMPLICIT)),
)

BYTES: list[tuple[SmallPDU, bytes]] = [
    (ReleaseRQ(), bytes.fromhex("0500000000 0400000000")),
    (ReleaseRP(), bytes.fromhex("0600000000 0400000000")),
    (Abort(AbortSource.PROVIDER, AbortReason.UNEXPECTED_PDU), bytes.fromhex("0700000000 0400000202")),
    (AssociateRJ.of(Rejection.TEMPORARY_CONGESTION, RejectResult.TRANSIENT), bytes.fromhex("0300000000 0400020301")),
    (AssociateRJ.of(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED), bytes.fromhex("0300000000 0400010107")),
]


@pytest.mark.parametrize(("pdu", "data"), BYTES, ids=lambda value: type(value).__name__)
def test_small_pdus_are_the_bytes_of_the_standard(pdu: SmallPDU, data: bytes) -> None:
    assert pdu.encode() == data
    kind, length = read_header(data[:6])
    assert length == len(data) - 6
    assert read_pdu(PDUType(kind), data[6:]) == pdu


@pytest.mark.parametrize("pdu", [REQUEST, ANSWER], ids=["request", "answer"])
def test_associate_pdus_come_back_as_they_were(pdu: AssociateRQ | AssociateAC) -> None:
    data = pdu.encode()
    kind, length = read_header(data[:6])
    assert length == len(data) - 6
    assert read_pdu(PDUType(kind), data[6:]) == pdu


def test_titles_fill_sixteen_characters() -> None:
    data = REQUEST.encode()
    assert data[10:26] == b"ARCHIVE         "
    assert data[26:42] == b"CT SCANNER 1    "
    assert data[42:74] == bytes(32)


def test_unknown_items_are_skipped() -> None:
    data = REQUEST.encode()[6:]
    strange = write_item(0x99, b"of a later edition")
    assert read_pdu(PDUType.ASSOCIATE_RQ, data + strange) == REQUEST


def test_a_request_that_names_nothing_can_still_be_read() -> None:
    bare = AssociateRQ("A", "B").encode()[6:74]
    found = read_pdu(PDUType.ASSOCIATE_RQ, bare)
    assert isinstance(found, AssociateRQ)
    assert (found.application_context, found.contexts, found.user.window) == ("", (), None)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (PDUType.ASSOCIATE_RQ, b"\0\1"),
        (PDUType.ASSOCIATE_RQ, REQUEST.encode()[6:-3]),
        (PDUType.ASSOCIATE_RQ, REQUEST.encode()[6:74] + b"\x10"),
        (PDUType.ASSOCIATE_RQ, REQUEST.encode()[6:74] + write_item(0x20, b"\1\0")),
        (PDUType.ASSOCIATE_RQ, REQUEST.encode()[6:74] + Proposed(2, CT, (IMPLICIT,)).encode()),
        (PDUType.ASSOCIATE_RQ, REQUEST.encode()[6:74] + write_item(0x20, b"\1\0\0\0")),
        (PDUType.ASSOCIATE_RQ, REQUEST.encode()[6:74] + write_item(0x50, write_item(0x51, b"\1"))),
        (PDUType.ASSOCIATE_RQ, REQUEST.encode()[6:74] + write_item(0x50, write_item(0x54, b"\0\x40ab"))),
        (PDUType.ASSOCIATE_RQ, REQUEST.encode()[6:74] + write_item(0x50, write_item(0x54, b"\0\2ab"))),
        (PDUType.ABORT, b"\0\0"),
        (PDUType.ASSOCIATE_RJ, b""),
    ],
    ids=range(11),
)
def test_what_cannot_be_read_is_refused(kind: PDUType, body: bytes) -> None:
    with pytest.raises(MalformedPDU):
        read_pdu(kind, body)


def test_the_header_of_a_fragment() -> None:
    data = write_data_header(3, 100, is_command=True, is_last=False)
    assert read_header(data[:6]) == (PDUType.P_DATA_TF, 106)
    header = read_fragment_header(data[6:])
    assert (header.size, header.context_id, header.is_command, header.is_last) == (100, 3, True, False)


@pytest.mark.parametrize("data", [b"\0\0\0\1\1\0", b"\0\0\0\6\2\0"], ids=["too short", "even context"])
def test_impossible_headers_of_fragments(data: bytes) -> None:
    with pytest.raises(MalformedPDU):
        read_fragment_header(data)


def test_why_an_association_was_rejected_is_told_in_words() -> None:
    assert str(AssociateRJ.of(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED)) == "called ae title not recognized"
    assert str(AssociateRJ.of(Rejection.LOCAL_LIMIT_EXCEEDED, RejectResult.TRANSIENT)).endswith("for now")
    assert str(AssociateRJ(1, 9, 9)) == "source 9, reason 9"


def test_items_of_no_length() -> None:
    assert list(read_items(write_item(1, b"") + write_item(2, b"x"))) == [(1, b""), (2, b"x")]
    assert APPLICATION_CONTEXT in str(REQUEST)
