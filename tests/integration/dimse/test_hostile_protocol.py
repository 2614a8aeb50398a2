"""Peers that do not keep to the upper layer (PS3.8): each gets its answer, and an honest one is served meanwhile."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import repeat

import pytest

from bench.harness import pss_bytes
from nearframe.dimse.command import CommandField
from nearframe.dimse.items import Proposed, Role, UserInformation
from nearframe.dimse.pdu import (
    Abort,
    AbortReason,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PDUType,
    Rejection,
    RejectResult,
    ReleaseRP,
    ReleaseRQ,
    read_pdu,
    write_data_header,
)
from nearframe.dimse.status import Status
from nearframe.units import MIB
from tests.integration.dimse.conftest import Archive
from tests.integration.dimse.hostile import (
    ABORTED,
    CONTEXTS,
    CT,
    DEFLATED,
    ECHO,
    EXPLICIT,
    OBJECT,
    STORE,
    UID,
    VERIFICATION,
    Associated,
    Wire,
    aborted_for,
    command,
    fragment,
    message,
    request,
    store,
)


def ask_echo(number: int = 1) -> bytes:
    return message(ECHO, command(CommandField.C_ECHO_RQ, VERIFICATION, number=number))


@pytest.fixture(autouse=True)
def an_honest_peer_is_served(node: Archive) -> Iterator[None]:
    """After each test too: within a second, an association, an object stored, and the release."""
    yield
    began_s = time.monotonic()
    with Associated(node.dicom) as honest:
        assert honest.ask(STORE, store(UID), OBJECT).status == Status.SUCCESS
        honest.release()
    assert time.monotonic() - began_s < 1


def rejected(why: Rejection, result: RejectResult = RejectResult.PERMANENT) -> bytes:
    return AssociateRJ.of(why, result).encode()


# -- before there is an association ---------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"\1\0", request()[:-1]], ids=["nothing", "half a header", "half a request"])
def test_300_sockets_that_do_not_go_on_keep_nobody_out(node: Archive, sent: bytes) -> None:
    before = pss_bytes(node.pid)
    with ExitStack() as silent:
        for _ in range(300):
            silent.enter_context(Wire(node.dicom)).send(sent)
        began_s = time.monotonic()
        with Associated(node.dicom) as honest:
            assert honest.ask(STORE, store(UID), OBJECT).status == Status.SUCCESS
            assert time.monotonic() - began_s < 1
    assert node.counted("dimse_rejected", reason="too many connections") >= 300 + 1 - 256
    assert pss_bytes(node.pid) - before < 16 * MIB


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"\0\0\0\0\0\0",
        b"\1\0\xff\xff\xff\xff",
        b"\1\0\0\1\0\1",
        b"\4\0\xff\xff\xff\xf0",
        b"\5\0\0\1\0\1",
        ask_echo(),
        ReleaseRQ().encode(),
        ReleaseRP().encode(),
        AssociateAC("ARCHIVE", "SCANNER").encode(),
        AssociateRJ.of(Rejection.NO_REASON).encode(),
        b"\1\0\0\0\0\0",
        b"\1\0\0\0\0\x44" + bytes(68),
        b"\1\0\0\0\0\x48" + request()[6:74] + b"\x20\0\xff\xff",
        b"\1\0\0\0\0\x4c" + request()[6:74] + b"\x50\0\0\4\x51\0\0\xff",
    ],
    ids=[
        "HTTP", "TLS", "type 0", "a request of 4 GiB", "a request of 64 KiB and one", "data of 4 GiB",
        "a release of 64 KiB and one", "data", "a release", "an answer to a release", "an acceptance", "a rejection",
        "an empty request", "a request of nulls", "an item longer than its PDU", "a sub-item longer than its item",
    ],
)  # fmt: skip
def test_what_is_no_request_is_aborted(node: Archive, sent: bytes) -> None:
    lost = node.counted("dimse_lost")
    with Wire(node.dicom) as wire:
        wire.send(sent)
        said = wire.hear()
    # A request of nulls can be read: it is of a version of the protocol that nobody speaks.
    assert said in (ABORTED, rejected(Rejection.PROTOCOL_VERSION_NOT_SUPPORTED))
    assert (said == ABORTED) is (len(sent) != 74)
    if said == ABORTED:
        # At least: what an earlier test broke off may be counted this moment.
        assert node.counted("dimse_lost") > lost


@pytest.mark.parametrize("is_associated", [False, True], ids=["before", "within"])
def test_a_pdu_of_4_gib_is_not_listened_to(node: Archive, is_associated: bool) -> None:
    before = pss_bytes(node.pid)
    with Wire(node.dicom) as wire:
        if is_associated:
            wire.associate()
        wire.send(b"\4\0\xff\xff\xff\xf0")
        assert wire.send_until_cut(bytes(MIB), 600 * MIB) < 32 * MIB
    assert pss_bytes(node.pid) - before < 16 * MIB


def test_an_abort_before_anything(node: Archive) -> None:
    with Wire(node.dicom) as wire:
        wire.send(Abort().encode())
        assert wire.said() == b""


# -- requests -------------------------------------------------------------------------------------


def contexts_of(count: int, syntaxes: int) -> tuple[Proposed, ...]:
    made = [f"1.2.840.10008.1.2.{n}" for n in range(syntaxes)]
    return tuple(Proposed(n % 128 * 2 + 1, CT, (*made, EXPLICIT)) for n in range(count))


def test_as_many_contexts_and_syntaxes_as_a_request_holds(node: Archive) -> None:
    with Wire(node.dicom) as wire:
        wire.send(request(contexts=contexts_of(128, 18)))
        answer = wire.hear()
    accepted = read_pdu(PDUType(answer[0]), answer[6:])
    assert isinstance(accepted, AssociateAC)
    assert [result.is_accepted for result in accepted.results] == [True] * 128


def crowded(roles: int) -> bytes:
    user = UserInformation(roles=tuple(Role(CT, is_scu=True, is_scp=False) for _ in range(roles)))
    return AssociateRQ("ARCHIVE", "SCANNER", user, contexts=CONTEXTS).encode()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (request(contexts=contexts_of(128, 40)), ABORTED),
        (request(contexts=contexts_of(129, 1)), rejected(Rejection.NO_REASON)),
        (request(contexts=[CONTEXTS[0], replace(CONTEXTS[1], context_id=1)]), rejected(Rejection.NO_REASON)),
        (request(contexts=[replace(CONTEXTS[0], context_id=2)]), ABORTED),
        (request(contexts=[replace(CONTEXTS[0], transfer_syntaxes=())]), ABORTED),
        (request(contexts=[]), rejected(Rejection.NO_REASON)),
        (crowded(1500), ABORTED),
        (request(called="SOMEBODY"), rejected(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED)),
        (request(called=""), rejected(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED)),
        (request(called="archive"), rejected(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED)),
        (request(called="ARCHIVE\0\0../x"), rejected(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED)),
        (request("../../etc"), rejected(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED)),
        (request("SCANNER\0\0../x"), rejected(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED)),
        (request(""), rejected(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED)),
        (request("NOBODY"), rejected(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED)),
        (request("ELSEWHERE"), rejected(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED)),
        (request().replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.2"),
         rejected(Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED)),
        (AssociateRQ("ARCHIVE", "SCANNER", UserInformation(16), contexts=CONTEXTS).encode(),
         rejected(Rejection.LOCAL_LIMIT_EXCEEDED)),
        (request().replace(DEFLATED.encode(), b"\xff" * len(DEFLATED)), ABORTED),
        (crowded(1).replace(CT.encode() + b"\1", b"\xff" * len(CT) + b"\1"), ABORTED),
    ],
    ids=[
        "more syntaxes than a request holds", "129 contexts", "two contexts of one number", "an even number",
        "no syntax", "no context", "more roles than contexts", "another title", "no title called",
        "the title in small letters", "a path behind the title", "a path as a title", "a path behind a known title",
        "no title", "nobody known", "a known title from elsewhere", "another application", "a maximum of 16 bytes",
        "a transfer syntax that is no text", "a role of a class that is no text",
    ],
)  # fmt: skip
def test_a_request_that_cannot_be(node: Archive, sent: bytes, answer: bytes) -> None:
    with Wire(node.dicom) as wire:
        began_s = time.monotonic()
        wire.send(sent)
        assert wire.hear() == answer
        assert time.monotonic() - began_s < 1


def test_a_rejection_is_counted(node: Archive) -> None:
    reason = "calling ae title not recognized"
    before = node.counted("dimse_rejected", reason=reason)
    with Wire(node.dicom) as wire:
        wire.send(request("NOBODY"))
        wire.hear()
    assert node.counted("dimse_rejected", reason=reason) == before + 1


@pytest.mark.parametrize("called", ["ARCHIVE", "NOBODY"])
def test_two_requests_at_once(node: Archive, called: str) -> None:
    with Wire(node.dicom) as wire:
        wire.send(request(called=called), request(called=called))
        assert wire.hear() == aborted_for(AbortReason.UNEXPECTED_PDU)


def test_a_request_after_a_rejection(node: Archive) -> None:
    with Wire(node.dicom) as wire:
        wire.send(request("NOBODY"))
        assert wire.hear() == rejected(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED)
        wire.send(request())
        assert wire.hear() == aborted_for(AbortReason.UNEXPECTED_PDU)


# -- within an association ------------------------------------------------------------------------

COMMAND = store(UID).encode()
UNEXPECTED, INVALID = AbortReason.UNEXPECTED_PDU, AbortReason.INVALID_PARAMETER


def pdv(length: int, context_id: int, control: int, data: bytes = b"") -> bytes:
    return struct.pack(">IBB", length, context_id, control) + data


def data_pdu(*values: bytes) -> bytes:
    body = b"".join(values)
    return struct.pack(">BxI", PDUType.P_DATA_TF, len(body)) + body


def begun(context_id: int = STORE) -> bytes:
    """Return a C-STORE-RQ, whose data set is to follow."""
    return fragment(context_id, COMMAND, is_command=True)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (request(), UNEXPECTED),
        (AssociateAC("ARCHIVE", "SCANNER").encode(), UNEXPECTED),
        (AssociateRJ.of(Rejection.NO_REASON).encode(), UNEXPECTED),
        (ReleaseRP().encode(), UNEXPECTED),
        (b"\x63\0\0\0\0\0", AbortReason.UNRECOGNIZED_PDU),
        (b"\0" * 64, AbortReason.UNRECOGNIZED_PDU),
        (b"\4\0\0\4\0\1", INVALID),
        (b"\4\0\0\0\0\0", INVALID),
        (data_pdu(pdv(0, STORE, 3, b"xxxx")), INVALID),
        (data_pdu(pdv(1, STORE, 3, b"xxxx")), INVALID),
        (data_pdu(pdv(0xFFFFFFFF, STORE, 3, b"xxxx")), INVALID),
        (data_pdu(pdv(100, STORE, 3, b"xxxx")), INVALID),
        (data_pdu(pdv(2 + len(COMMAND), STORE, 3, COMMAND), b"xyz"), INVALID),
        (data_pdu(pdv(2 + len(COMMAND), 0, 3, COMMAND)), INVALID),
        (data_pdu(pdv(2 + len(COMMAND), 77, 3, COMMAND)), INVALID),
        (fragment(STORE, b"x", is_command=False), INVALID),
        (begun() + begun(), INVALID),
        (begun() + fragment(ECHO, b"x", is_command=False), INVALID),
        (begun() + fragment(STORE, b"x", is_command=True, is_last=False), INVALID),
        (fragment(STORE, COMMAND[:8], is_command=True, is_last=False)
         + fragment(STORE, b"x", is_command=False), INVALID),
        (fragment(STORE, COMMAND[:8], is_command=True, is_last=False)
         + fragment(ECHO, COMMAND[8:], is_command=True), INVALID),
        (fragment(ECHO, b"\0\0\0\0\4\0\0\0\xff\xff\xff\xff" + COMMAND[12:], is_command=True), INVALID),
        (fragment(ECHO, b"\0\0\0\0\xff\xff\xff\xff", is_command=True), INVALID),
        (fragment(ECHO, b"", is_command=True), INVALID),
        (fragment(ECHO, OBJECT[:200], is_command=True), INVALID),
        (fragment(ECHO, os.urandom(200), is_command=True), INVALID),
        (b"".join(fragment(ECHO, bytes(1000), is_command=True, is_last=False) for _ in range(70)), INVALID),
    ],
    ids=[
        "a second request", "an acceptance", "a rejection", "an answer to no release", "an unknown PDU", "nulls",
        "longer than agreed", "without a value", "a value of no length", "a value without control",
        "a value of 4 GiB", "a value longer than its PDU", "bytes behind the last value", "context 0",
        "a context that nobody proposed", "data that no command announced", "a command where data are due",
        "data of another context", "half a command where data are due", "data within a command",
        "a command in two contexts", "a gigantic group length", "an element of 4 GiB", "an empty command",
        "a data set for a command", "noise for a command", "a command without end",
    ],
)  # fmt: skip
def test_nonsense_is_aborted_with_its_reason(node: Archive, sent: bytes, reason: AbortReason) -> None:
    with Associated(node.dicom) as wire:
        wire.send(sent)
        assert wire.hear() == aborted_for(reason)


def test_an_operation_in_a_context_of_another_service(node: Archive) -> None:
    with Associated(node.dicom, "READER") as reader:
        asked = command(CommandField.C_STORE_RQ, CT, has_data=True, affected_sop_instance_uid=UID)
        assert reader.ask(STORE, asked, OBJECT).status == Status.UNRECOGNIZED_OPERATION
        assert reader.ask(ECHO, command(CommandField.N_DELETE_RQ, CT)).status == Status.UNRECOGNIZED_OPERATION
        assert reader.echo() == Status.SUCCESS


def test_answers_to_what_nobody_asked(node: Archive) -> None:
    answer = store(UID).answer(Status.SUCCESS, has_data=True)
    with Associated(node.dicom) as wire:
        wire.send(message(STORE, answer, b"x") * 1000, ask_echo())
        assert wire.answer().status == Status.SUCCESS
        assert wire.send_until_cut(message(STORE, answer, bytes(2 * MIB)), 64 * MIB) < 32 * MIB
        assert wire.hear()[:1] in (b"", bytes([PDUType.ABORT]))


def test_an_object_in_fragments_of_nothing(node: Archive) -> None:
    before = pss_bytes(node.pid)
    with Associated(node.dicom) as wire:
        wire.send(begun(), data_pdu(*(pdv(2, STORE, 0) for _ in range(900))))
        wire.send(fragment(STORE, OBJECT, is_command=False))
        assert wire.answer().status == Status.SUCCESS
        wire.send(begun(), data_pdu(*(pdv(2, STORE, 0) for _ in range(40_000))))
        assert wire.hear() == aborted_for(INVALID)
    assert pss_bytes(node.pid) - before < 16 * MIB


def test_a_peer_that_asks_and_does_not_listen_is_held_back(node: Archive) -> None:
    before = pss_bytes(node.pid)
    with Associated(node.dicom) as wire:
        wire.socket.settimeout(1)
        assert wire.send_until_cut(ask_echo() * 1000, 256 * MIB) < 64 * MIB
        with Associated(node.dicom) as honest:
            assert honest.echo() == Status.SUCCESS
    assert pss_bytes(node.pid) - before < 16 * MIB


def test_a_release_within_a_message(node: Archive) -> None:
    with Associated(node.dicom) as wire:
        wire.send(begun(), ReleaseRQ().encode())
        assert wire.hear()[:1] == bytes([PDUType.ABORT])


def test_a_trickle_is_cut_off(node: Archive) -> None:
    """A byte in a second, before an association and within a message: all at once, since that takes its time."""
    whole = request()
    with ExitStack() as stack:
        early = stack.enter_context(Wire(node.dicom))
        slow = [stack.enter_context(Associated(node.dicom)) for _ in range(3)]
        drips: dict[Wire, Iterator[bytes]] = {early: (whole[at : at + 1] for at in range(len(whole)))}
        drips.update((wire, repeat(b"\0")) for wire in slow[:2])
        drips[slow[2]] = repeat(data_pdu(pdv(3, STORE, 0, b"x")))
        slow[0].send(write_data_header(ECHO, 5000, is_command=True, is_last=True))
        slow[1].send(begun(), write_data_header(STORE, 5000, is_command=False, is_last=True))
        slow[2].send(begun())
        cut_s: dict[Wire, float] = {}
        began_s = time.monotonic()
        while len(cut_s) < len(drips) and time.monotonic() - began_s < 20:
            for wire in drips.keys() - cut_s.keys():
                wire.socket.settimeout(1 / len(drips))
                if _is_cut(wire, next(drips[wire])):
                    cut_s[wire] = time.monotonic() - began_s
    assert cut_s[early] < 8
    assert [cut_s[wire] < 15 for wire in slow] == [True] * 3


def _is_cut(wire: Wire, drip: bytes) -> bool:
    try:
        wire.send(drip)
        return wire.hear()[:1] in (b"", bytes([PDUType.ABORT]))
    except TimeoutError:
        return False
    except OSError:
        return True


# -- and many times -------------------------------------------------------------------------------


def by_abort(wire: Wire) -> None:
    wire.send(Abort().encode())


def by_closing(wire: Wire) -> None:
    pass


def by_reset(wire: Wire) -> None:
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("times", [60, pytest.param(10_000, marks=pytest.mark.drill)])
def test_objects_that_break_off_leave_nothing(node: Archive, times: int) -> None:
    break_off(node, min(times, 1000))  # what the first of them need, the others have
    (descriptors, threads), before = held_by(node), pss_bytes(node.pid)
    break_off(node, times)
    deadline_s = time.monotonic() + 20
    # A few more of each there may be: threads and connections of the catalogue that were not needed before.
    while held_by(node)[0] > descriptors + 10:
        assert time.monotonic() < deadline_s, held_by(node)
        time.sleep(0.05)
    assert held_by(node)[1] <= threads + 10
    assert pss_bytes(node.pid) - before < 32 * MIB


def break_off(node: Archive, times: int) -> None:
    """Begin objects, of 64 KiB and of 4.5 MB, and break off in every way there is."""
    part = fragment(STORE, bytes(1 << 16), is_command=False, is_last=False)
    ways: list[Callable[[Wire], None]] = [by_abort, by_closing, by_reset]
    for number in range(times):
        with Associated(node.dicom) as wire:
            wire.send(begun(), part * (70 if number % 20 == 0 else 1))
            ways[number % 3](wire)


def held_by(node: Archive) -> tuple[int, int]:
    """Return how many descriptors and threads the node has."""
    return len(os.listdir(f"/proc/{node.pid}/fd")), len(os.listdir(f"/proc/{node.pid}/task"))
