"""Streams of a study: whole, byte by byte, cut, out of order, and damaged anywhere."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest, RequestError
from nearframe.wire import syncstream
from nearframe.wire.document import compress
from nearframe.wire.syncstream import (
    Absent,
    DeltaDocument,
    End,
    Epoch,
    Event,
    Form,
    Headers,
    ManifestDocument,
    Piece,
    SyncStreamReader,
    Unchanged,
)

ROOT, OTHER = bytes(range(32)), bytes(32)
_forms = st.builds(
    lambda number, offsets: Form(number, OTHER, max(offsets, default=0) + 2, tuple(sorted(offsets))),
    st.integers(0, 9),
    st.sets(st.integers(1, 2**32 - 1), max_size=6),
)
_pieces = st.builds(Piece, st.integers(0, 9), st.integers(0, 2**20), st.binary(max_size=30), st.just(True))
_headers = st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=20)), min_size=1, max_size=3).map(
    lambda blobs: Headers(tuple(blobs))
)
carried = st.lists(_forms | _pieces | _headers | st.builds(Absent, st.integers(0, 9)), max_size=6)
says = st.sampled_from([Unchanged(ROOT), ManifestDocument(b"manifest"), DeltaDocument(b"")])


def written(event: Event) -> bytes:
    match event:
        case Epoch(name):
            return syncstream.opening(name)
        case Unchanged(root):
            return syncstream.unchanged(root)
        case ManifestDocument(encoded):
            return syncstream.manifest(encoded)
        case DeltaDocument(encoded):
            return syncstream.delta(encoded)
        case Headers(blobs):
            return syncstream.headers(blobs)
        case Form(number, digest, length, offsets):
            return syncstream.form(number, digest, length, offsets)
        case Piece(number, offset, data):
            return syncstream.part(number, offset, len(data)) + data
        case Absent(number):
            return syncstream.absent(number)
        case End(_):
            raise AssertionError


def stream_of(events: list[Event]) -> bytes:
    return b"".join(map(written, events)) + syncstream.ending(ROOT, len(events))


def read(chunks: list[bytes]) -> list[Event]:
    reader = SyncStreamReader()
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    reader.close()
    return events


def joined(events: list[Event]) -> list[Event]:
    """Put together the pieces of a record that came in several chunks."""
    out: list[Event] = []
    for event in events:
        before = out[-1] if out else None
        if isinstance(event, Piece) and isinstance(before, Piece) and not before.last:
            assert event.offset == before.offset + len(before.data)
            out[-1] = Piece(before.number, before.offset, before.data + event.data, event.last)
        else:
            out.append(event)
    return out


@given(says, carried, st.integers(1, 40))
def test_a_stream_comes_back_however_it_is_cut(said: Event, events: list[Event], step: int) -> None:
    told = [Epoch("epoch-1"), said, *events]
    stream = stream_of(told)
    assert read([stream]) == [*told, End(ROOT)]
    chunks = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert joined(read(chunks)) == [*told, End(ROOT)]


@given(says, carried, st.data())
def test_a_stream_that_is_cut_says_so(said: Event, events: list[Event], data: st.DataObject) -> None:
    stream = stream_of([Epoch("e"), said, *events])
    at = data.draw(st.integers(0, len(stream) - 1))
    with pytest.raises(MalformedRequest):
        read([stream[:at]])


@given(says, carried, st.data())
def test_damage_is_refused_or_seen_in_the_events(said: Event, events: list[Event], data: st.DataObject) -> None:
    told = [Epoch("e"), said, *events]
    stream = bytearray(stream_of(told))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    try:
        found = read([bytes(stream)])
    except RequestError:
        return
    # What a reader of the events does not look at: the offset of records that have none.
    if found == [*told, End(ROOT)]:
        assert at > len(syncstream.MAGIC)


@given(st.binary(max_size=200))
@example(b"NFS1")
def test_anything_is_read_within_bounds(data: bytes) -> None:
    reader = SyncStreamReader()
    try:
        events = list(reader.feed(syncstream.MAGIC + data))
        reader.close()
    except RequestError:
        return
    assert isinstance(events[-1], End)


@pytest.mark.parametrize(
    "stream",
    [
        b"NFS2",
        syncstream.MAGIC + syncstream.unchanged(ROOT),
        syncstream.opening("e") + syncstream.absent(1),
        syncstream.opening("e") + syncstream.opening("e")[4:],
        syncstream.opening("e") + syncstream.unchanged(ROOT) + syncstream.unchanged(ROOT),
        syncstream.opening("e") + syncstream.unchanged(ROOT[:31]),
        syncstream.opening("e") + syncstream.unchanged(ROOT) + syncstream.ending(ROOT, 3),
        syncstream.opening("e") + syncstream.unchanged(ROOT) + syncstream.ending(ROOT, 2) + b"\0" * 21,
        syncstream.opening("e") + syncstream.unchanged(ROOT) + syncstream.part(1, 2**40, 1),
        syncstream.opening("e") + syncstream.unchanged(ROOT) + syncstream.form(1, ROOT, 10, (5, 5)),
        syncstream.opening("e") + syncstream.unchanged(ROOT) + syncstream.form(1, ROOT, 10, (5, 11)),
        syncstream.opening("e" * 65),
    ],
)
def test_what_is_no_stream(stream: bytes) -> None:
    with pytest.raises(MalformedRequest):
        read([stream])


def test_headers_with_false_lengths() -> None:
    for plain in (b"\0" * 7, b"\0\0\0\0\x05\0\0\0abc"):
        record = syncstream._record(syncstream.Kind.HEADERS, compress(plain))
        with pytest.raises(MalformedRequest):
            read([syncstream.opening("e") + syncstream.unchanged(ROOT) + record])


def test_what_says_that_nothing_changed_is_short() -> None:
    epoch = "0123456789abcdef0123456789abcdef"
    assert len(stream_of([Epoch(epoch), Unchanged(ROOT)])) == 4 + 3 * 21 + 32 + 64
