"""The receiver without sockets: cut and damaged anywhere, again and again, it ends with the study or says why not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearframe.client import Arrival, Folder, Progress, Study
from nearframe.client.receiver import AskAgain, Receiver
from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.transcode import TranscodedFrame, to_htj2k
from nearframe.dicom.transfersyntax import ExplicitVRLittleEndian
from nearframe.errors import IntegrityError, MalformedRequest, NearframeError
from nearframe.ids import Digest, sha256
from nearframe.query.deltas import make_delta
from nearframe.query.headeredits import Part10Edits
from nearframe.query.manifests import build_manifest
from nearframe.storage.ports import StudyRef
from nearframe.wire import syncstream
from nearframe.wire.delta import encode_delta
from nearframe.wire.manifest import Manifest
from nearframe.wire.manifestjson import encode_manifest
from nearframe.wire.studycontents import contents_of, unpack_bits
from nearframe.wire.syncrequest import SyncRequest
from nearframe.wire.syncstream import SyncStreamReader
from tests.syncing import STUDY_UID, Shelves, ct_series, rename

STUDY = StudyRef("main", STUDY_UID)
FILES = ct_series(3, rows=64)
RENAMED = ct_series(3, rows=64, change=rename("Doe^Janet"))


@dataclass
class Node:
    """What a node would send, byte by byte, in the plainest way."""

    shelves: Shelves
    manifest: Manifest
    renditions: dict[Digest, TranscodedFrame]

    @classmethod
    def of(cls, shelves: Shelves) -> Node:
        manifest = build_manifest(shelves.catalogue, STUDY, shelves.catalogue.state(STUDY))
        made = {}
        for entry in manifest.entries:
            pixel = PixelDescription(**(entry.pixel or {}))
            for enc, _ in entry.frames:
                samples = decode_frame(shelves.store.read(STUDY, enc), ExplicitVRLittleEndian, pixel)
                made[enc] = to_htj2k(samples, pixel)
        return cls(shelves, manifest, made)

    def stream(self, request: SyncRequest, old: Manifest | None = None) -> bytes:
        records = [syncstream.opening("epoch")[len(syncstream.MAGIC) :], *self._records(request, old)]
        return syncstream.MAGIC + b"".join(records) + syncstream.ending(self.manifest.root, len(records))

    def _records(self, request: SyncRequest, old: Manifest | None) -> Iterator[bytes]:
        contents = contents_of(self.manifest)
        headers, numbers = set(range(len(self.manifest.entries))), set(range(len(contents)))
        parts = {}
        if request.root == self.manifest.root:
            yield syncstream.unchanged(request.root)
            headers = unpack_bits(request.lacking_headers, len(self.manifest.entries))
            numbers = unpack_bits(request.lacking_contents, len(contents))
            parts = {part.number: part for part in request.parts}
        elif old is not None and request.root == old.root:
            read = self.shelves.store.read
            delta = make_delta(old, self.manifest, lambda hdr: read(STUDY, hdr), Part10Edits())
            yield syncstream.delta(encode_delta(delta))
            headers, numbers = set(), set()
        else:
            yield syncstream.manifest(encode_manifest(self.manifest))
        if headers:
            yield syncstream.headers(
                (index, self.shelves.store.read(STUDY, self.manifest.entries[index].hdr)) for index in sorted(headers)
            )
        forms = {number: self.renditions[contents[number].digest] for number in sorted(numbers)}
        starts = {}
        for number, frame in forms.items():
            digest = sha256(frame.encoded)
            yield syncstream.form(number, digest, len(frame.encoded), frame.resolution_offsets)
            held = parts[number].length if number in parts and parts[number].is_of(digest) else 0
            starts[number] = max(held, frame.resolution_offsets[1])
            if held < starts[number]:
                yield syncstream.part(number, held, starts[number] - held) + frame.encoded[held : starts[number]]
        for number, frame in forms.items():
            rest = frame.encoded[starts[number] :]
            yield syncstream.part(number, starts[number], len(rest)) + rest


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Node, Node]]:
    """A node before and after a correction."""
    with tempfile.TemporaryDirectory() as folder:
        shelves = Shelves.open(Path(folder))
        shelves.put(FILES)
        before = Node.of(shelves)
        shelves.put(RENAMED)
        yield before, Node.of(shelves)
        shelves.close()


class Client:
    """A folder and a receiver on it."""

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.folder = Folder(path)
        self.place = self.folder.study("", STUDY_UID)
        self.receiver = Receiver(self.folder, self.place, Part10Edits(), progress or Progress())

    def take(self, stream: bytes, step: int = 1000) -> None:
        reader = SyncStreamReader()
        self.receiver.begin()
        try:
            for at in range(0, len(stream), step):
                for event in reader.feed(stream[at : at + step]):
                    self.receiver.take(event)
            reader.close()
        finally:
            self.receiver.cut()

    def files(self) -> list[bytes]:
        manifest = self.place.manifest()
        assert manifest is not None
        study = Study(self.folder, self.place, manifest)
        return sorted(study.file(instance) for instance in study.instances)


@settings(max_examples=12)
@given(places=st.lists(st.floats(0, 1), min_size=1, max_size=5), step=st.sampled_from([17, 1000, 65536]))
def test_cut_anywhere_as_often_as_one_likes(nodes: tuple[Node, Node], places: list[float], step: int) -> None:
    node, _ = nodes
    with tempfile.TemporaryDirectory() as folder:
        moved = 0
        for place in places:
            client = Client(Path(folder))  # as another process would
            if client.receiver.is_whole:
                break
            stream = node.stream(client.receiver.request(2))
            cut = stream[: int(place * len(stream))]
            moved += len(cut)
            with suppress(MalformedRequest, AskAgain):
                client.take(cut, step)
        client = Client(Path(folder))
        stream = node.stream(client.receiver.request(2))
        client.take(stream, step)
        assert client.receiver.is_whole
        assert client.files() == sorted(FILES)
        # The manifest and headers of a stream that was cut before they were whole come again; contents do not.
        contents = sum(len(frame.encoded) for frame in node.renditions.values())
        assert moved + len(stream) < contents + (len(places) + 1) * 6000


@settings(max_examples=20)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_is_never_believed(nodes: tuple[Node, Node], place: float, bit: int) -> None:
    node, _ = nodes
    with tempfile.TemporaryDirectory() as folder:
        client = Client(Path(folder))
        stream = bytearray(node.stream(client.receiver.request(2)))
        stream[int(place * len(stream))] ^= 1 << bit
        try:
            client.take(bytes(stream))
        except (NearframeError, AskAgain):
            assert not client.receiver.is_whole or client.files() == sorted(FILES)
        for path in (Path(folder) / "contents").rglob("*"):
            if path.is_file():
                assert sha256(path.read_bytes()).hex() == path.parent.name + path.name
        again = Client(Path(folder))
        again.take(node.stream(again.receiver.request(2)))
        assert again.files() == sorted(FILES)


@settings(max_examples=10)
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_delta_that_is_damaged_leaves_the_old_state(nodes: tuple[Node, Node], place: float) -> None:
    before, after = nodes
    with tempfile.TemporaryDirectory() as folder:
        client = Client(Path(folder))
        client.take(before.stream(client.receiver.request(2)))
        stream = bytearray(after.stream(client.receiver.request(2), before.manifest))
        stream[int(place * len(stream))] ^= 0x10
        with suppress(NearframeError, AskAgain):
            client.take(bytes(stream))
        assert client.files() in (sorted(FILES), sorted(RENAMED))


def test_a_delta_is_followed(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    before, after = nodes
    client = Client(tmp_path)
    client.take(before.stream(client.receiver.request(2)))
    client.take(after.stream(client.receiver.request(2), before.manifest))
    assert (client.receiver.how, client.files()) == ("delta", sorted(RENAMED))


def test_a_node_that_forgot_the_state_is_told_the_new_one(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    before, after = nodes
    client = Client(tmp_path)
    client.take(before.stream(client.receiver.request(2)))
    with pytest.raises(AskAgain):
        client.take(after.stream(client.receiver.request(2)))
    request = client.receiver.request(2)
    assert request.root == after.manifest.root
    assert not request.lacks_something
    assert client.files() == sorted(RENAMED)


class TestLies:
    @pytest.fixture
    def client(self, nodes: tuple[Node, Node], tmp_path: Path) -> Client:
        """A client that has the first state but for its second frame."""
        node, _ = nodes
        client = Client(tmp_path)
        client.take(node.stream(client.receiver.request(2)))
        client.folder.drop(contents_of(node.manifest)[1].digest)
        return Client(tmp_path)

    def told(self, node: Node, *records: bytes) -> bytes:
        said = (syncstream.unchanged(node.manifest.root), *records)
        return syncstream.opening("e") + b"".join(said) + syncstream.ending(node.manifest.root, len(said) + 1)

    def test_a_rendition_of_another_frame(self, nodes: tuple[Node, Node], client: Client) -> None:
        node, _ = nodes
        other = next(frame for enc, frame in node.renditions.items() if enc != contents_of(node.manifest)[1].digest)
        form = syncstream.form(1, sha256(other.encoded), len(other.encoded), other.resolution_offsets)
        part = syncstream.part(1, 0, len(other.encoded)) + other.encoded
        with pytest.raises(IntegrityError, match="does not give"):
            client.take(self.told(node, form, part))
        assert not client.receiver.is_whole
        assert client.receiver.request(2).levels is None

    @pytest.mark.parametrize(
        "record",
        [
            syncstream.form(1, bytes(32), 10**9),
            syncstream.form(99, bytes(32), 10),
            syncstream.part(99, 0, 1) + b"x",
            syncstream.part(1, 5, 1) + b"x",
            syncstream.part(1, 0, 10_000) + bytes(10_000),
            syncstream.absent(99),
            syncstream.headers([(99, b"x")]),
        ],
    )
    def test_what_makes_no_sense(self, nodes: tuple[Node, Node], client: Client, record: bytes) -> None:
        with pytest.raises(MalformedRequest):
            client.take(self.told(nodes[0], record))

    def test_another_content(self, nodes: tuple[Node, Node], client: Client) -> None:
        length = contents_of(nodes[0].manifest)[1].length
        with pytest.raises(IntegrityError):
            client.take(self.told(nodes[0], syncstream.part(1, 0, length) + bytes(length)))
        assert not client.receiver.is_whole

    def test_a_state_that_was_not_named(self, nodes: tuple[Node, Node], client: Client) -> None:
        for root in (nodes[1].manifest.root, bytes(32)):
            with pytest.raises(IntegrityError):
                client.take(syncstream.opening("e") + syncstream.unchanged(root))

    def test_another_end(self, nodes: tuple[Node, Node], client: Client) -> None:
        stream = (
            syncstream.opening("e") + syncstream.unchanged(nodes[0].manifest.root) + syncstream.ending(bytes(32), 2)
        )
        with pytest.raises(IntegrityError):
            client.take(stream)

    def test_nothing_new_though_something_lacks(self, client: Client) -> None:
        with pytest.raises(MalformedRequest):
            client.receiver.nothing_new()

    def test_another_study(self, nodes: tuple[Node, Node], tmp_path: Path) -> None:
        other = Client(tmp_path / "other")
        other.receiver = Receiver(other.folder, other.folder.study("", "1.2.3"), Part10Edits(), Progress())
        with pytest.raises(IntegrityError, match="another study"):
            other.take(nodes[0].stream(SyncRequest()))


def test_what_has_come_is_told(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    told: list[Arrival] = []

    class Listening(Progress):
        def arrived(self, arrival: Arrival) -> None:
            told.append(arrival)

    client = Client(tmp_path, Listening())
    client.take(nodes[0].stream(client.receiver.request(2)))
    assert [arrival.resolutions for arrival in told] == [2, 2, 2, None, None, None]
    assert {arrival.frame_number for arrival in told} == {1}
