"""Files to a peer that is ours."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import pytest

from nearframe.dicom.filemeta import file_meta
from nearframe.dimse.items import ContextResult, Proposed
from nearframe.dimse.scu import UNCOMPRESSED
from nearframe.dimse.scu_files import Outgoing, Sent, batches, outgoing, send
from nearframe.dimse.status import Status
from nearframe.errors import AssociationLost, MalformedDICOM, MissingIdentifier
from tests.unit.dimse.test_association import CT, Site, site

OTHER = "1.2.840.10008.5.1.4.1.1.77"


def data_set(instance: str, pixels: int = 20_000) -> bytes:
    uid = instance.encode() + b"\0" * (len(instance) % 2)
    head = b"\x08\0\x16\0UI\x1a\0" + CT.encode() + b"\0" + b"\x08\0\x18\0UI" + len(uid).to_bytes(2, "little") + uid
    return head + b"\xe0\x7f\x10\0OW\0\0" + pixels.to_bytes(4, "little") + bytes(pixels)


@dataclass(frozen=True)
class Held:
    data: bytes
    name: str = "a.dcm"

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def open(self) -> Callable[[], BinaryIO]:
        return partial(io.BytesIO, self.data)


def held(instance: str) -> Outgoing:
    return outgoing(Held(file_meta(CT, instance, UNCOMPRESSED[0]) + data_set(instance)))


async def send_all(archive: Site, files: list[Outgoing]) -> list[Sent]:
    async with aclosing(send(archive.peer, files)) as sent:
        return [one async for one in sent]


def test_what_a_file_is() -> None:
    found = held("1.2.3")
    assert (found.kind, found.sop_instance_uid) == ((CT, UNCOMPRESSED[0]), "1.2.3")


def test_what_is_no_object() -> None:
    with pytest.raises(MalformedDICOM):
        outgoing(Held(b"a letter, and not a short one"))
    with pytest.raises(MissingIdentifier):
        outgoing(Held(file_meta("", "", UNCOMPRESSED[0]) + b"\x08\0\x60\0CS\x02\0CT"))


def test_no_association_carries_more_than_128_kinds() -> None:
    files = [Outgoing(Held(b""), f"1.2.{number % 300}", "1", "1.2", 0) for number in range(600)]
    parted = list(batches(files))
    assert [len({file.kind for file in batch}) for batch in parted] == [128, 128, 44]
    assert sum(map(len, parted)) == 600


async def test_files_arrive_byte_for_byte() -> None:
    async with site() as archive:
        sent = await send_all(archive, [held(f"1.2.{number}") for number in range(20)])
    assert all(one.is_stored for one in sent)
    assert archive.archive.stored == {f"1.2.{number}": data_set(f"1.2.{number}") for number in range(20)}


async def test_what_the_peer_does_not_take() -> None:
    other = Outgoing(Held(b""), OTHER, "1.2.9", UNCOMPRESSED[0], 0)
    async with site() as archive:
        first, second = await send_all(archive, [other, held("1.2.3")])
    assert (first.status, first.is_stored) == (None, False)
    assert first.said.endswith(f"({OTHER} in ExplicitVRLittleEndian): not at all")
    assert second.is_stored


async def test_what_the_peer_takes_in_another_transfer_syntax() -> None:
    rle = Outgoing(Held(b""), CT, "1.2.9", "1.2.840.10008.1.2.5", 0)

    def refuses_rle(proposed: Proposed) -> str | ContextResult:
        taken = proposed.transfer_syntaxes[0] == UNCOMPRESSED[0]
        return UNCOMPRESSED[0] if taken else ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED  # as DCMTK does

    async with site(choosing=refuses_rle) as archive:
        first, second = await send_all(archive, [rle, held("1.2.3")])
    assert first.said.endswith("in RLELossless): not in this transfer syntax")
    assert second.is_stored


async def test_a_refusal_is_told_in_words() -> None:
    async with site() as archive:
        archive.archive.is_full = True
        (sent,) = await send_all(archive, [held("1.2.3")])
    assert sent.status == Status.OUT_OF_RESOURCES
    assert "disk" in sent.said


@dataclass(frozen=True)
class OnBadDisk(Held):
    """Reads as far as it is good."""

    good_bytes: int = 0

    @property
    def open(self) -> Callable[[], BinaryIO]:
        return partial(Failing, self.data, self.good_bytes)


class Failing(io.BytesIO):
    def __init__(self, data: bytes, good_bytes: int) -> None:
        super().__init__(data)
        self._good_bytes = good_bytes

    def read(self, length: int | None = -1, /) -> bytes:
        if self.tell() >= self._good_bytes:
            raise OSError(5, "Input/output error")
        return super().read(500_000)


async def test_a_file_that_cannot_be_read_is_told_and_the_others_go() -> None:
    bad = Outgoing(OnBadDisk(bytes(1_000_000)), CT, "1.2.1", UNCOMPRESSED[0], 0)
    async with site() as archive:
        sent = await send_all(archive, [bad, held("1.2.2")])
    assert {one.outgoing.sop_instance_uid: one.is_stored for one in sent} == {"1.2.1": False, "1.2.2": True}


async def test_a_file_that_fails_half_way_is_not_mixed_with_the_next() -> None:
    bad = Outgoing(OnBadDisk(bytes(1_500_000), good_bytes=1_000_000), CT, "1.2.1", UNCOMPRESSED[0], 0)
    async with site() as archive:
        with pytest.raises(AssociationLost):
            await send_all(archive, [bad, held("1.2.2"), held("1.2.3")])
    assert "1.2.1" not in archive.archive.stored
    assert all(data == data_set(uid) for uid, data in archive.archive.stored.items())
