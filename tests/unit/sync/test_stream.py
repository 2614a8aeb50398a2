"""A study in one answer: what goes, in which order, and what does not."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from nearframe.context import Context, Scope
from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.rebuild import rebuilt
from nearframe.dicom.transcode import to_htj2k
from nearframe.dicom.transfersyntax import ExplicitVRLittleEndian, HTJ2KLosslessRPCL
from nearframe.errors import UpstreamUnavailable
from nearframe.ids import Digest, sha256
from nearframe.metrics import SYNC_SENT_BYTES
from nearframe.query.deltas import apply_delta
from nearframe.query.headeredits import Part10Edits
from nearframe.storage.ports import ContentKind, Rendition, StudyRef
from nearframe.sync.plan import PART_BYTES
from nearframe.wire.delta import decode_delta
from nearframe.wire.manifest import Manifest
from nearframe.wire.manifestjson import decode_manifest
from nearframe.wire.studycontents import contents_of, pack_bits
from nearframe.wire.syncrequest import SyncRequest, part_of
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
from tests.syncing import Shelves, ct_series, rename
from tests.unit.sync.conftest import STUDY, URL, Node

ROWS = 64


class Answer:
    """What a stream said, put together."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == 200, response.text
        self.headers = response.headers
        self.size = len(response.content)
        reader = SyncStreamReader()
        self.events: list[Event] = list(reader.feed(response.content))
        reader.close()

    def all(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def hdrs(self) -> set[int]:
        return {index for headers in self.all(Headers) for index, _ in headers.blobs}

    @property
    def order(self) -> list[int]:
        """Numbers of the contents, one for each part."""
        return [piece.number for piece in self.all(Piece)]

    def contents(self) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for piece in self.all(Piece):
            held = found.get(piece.number, b"")
            assert piece.offset <= len(held), "a gap"
            found[piece.number] = held[: piece.offset] + piece.data
        return found


EVERYTHING = SyncRequest()


async def asked(node: Node, request: SyncRequest = EVERYTHING) -> Answer:
    if request.is_plain:
        return Answer(await node.client.get(f"{URL}/sync", params=request.to_query()))
    return Answer(await node.client.post(f"{URL}/sync", json=request.to_json()))


def render(origin: Shelves, manifest: Manifest) -> dict[Digest, Rendition]:
    """Make the renditions of all frames, as an origin does in the background."""
    made = {}
    for entry in manifest.entries:
        assert entry.pixel is not None
        pixel = PixelDescription(**entry.pixel)
        for enc, _ in entry.frames:
            samples = decode_frame(origin.store.read(STUDY, enc), ExplicitVRLittleEndian, pixel)
            frame = to_htj2k(samples, pixel)
            digest = sha256(frame.encoded)
            origin.store.append(STUDY, ContentKind.DERIVED, digest, len(frame.encoded), [frame.encoded])
            made[enc] = Rendition(enc, HTJ2KLosslessRPCL, digest, len(frame.encoded), frame.resolution_offsets)
    origin.catalogue.add_renditions("main", list(made.values()))
    return made


async def test_first_time_everything_comes(origin: Shelves, node: Node) -> None:
    origin.put(ct_series(5))
    answer = await asked(node)
    manifest = decode_manifest(answer.all(ManifestDocument)[0].encoded)
    assert manifest.root == (await node.manifest()).root
    assert answer.all(Epoch) == [Epoch(origin.catalogue.head().epoch)]
    assert answer.headers["nearframe-epoch"] == origin.catalogue.head().epoch
    assert answer.headers["cache-control"] == "no-store"
    for headers in answer.all(Headers):
        for index, blob in headers.blobs:
            assert sha256(blob) == manifest.entries[index].hdr
    assert answer.hdrs == set(range(5))
    contents = contents_of(manifest)
    assert {number: sha256(data) for number, data in answer.contents().items()} == {
        number: content.digest for number, content in enumerate(contents)
    }
    assert answer.events[-1] == End(manifest.root)
    assert (node.sent["frame"], node.sent["header"], node.sent["manifest"]) == (5, 5, 2)


async def test_nothing_new_is_an_answer_without_content(origin: Shelves, node: Node) -> None:
    origin.put(ct_series(3))
    root = (await node.manifest()).root
    response = await node.client.get(f"{URL}/sync", params=SyncRequest(root, levels=4).to_query())
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["nearframe-epoch"] == origin.catalogue.head().epoch


async def test_a_correction_is_a_delta_and_nothing_else(origin: Shelves, node: Node) -> None:
    files = ct_series(20)
    origin.put(files)
    old = await node.manifest()
    origin.put(ct_series(20, change=rename("Doe^Janet")))
    answer = await asked(node, SyncRequest(old.root, levels=4))
    delta = decode_delta(answer.all(DeltaDocument)[0].encoded)
    kept: dict[Digest, bytes] = {}
    new = apply_delta(old, delta, lambda hdr: origin.store.read(STUDY, hdr), Part10Edits(), kept.__setitem__)
    assert (new.root, len(kept)) == ((await node.manifest()).root, 20)
    assert not answer.order
    assert not answer.hdrs
    assert answer.size < 700


async def test_what_is_added_comes_after_a_delta(origin: Shelves, node: Node) -> None:
    files = ct_series(6)
    origin.put(files[:4])
    old = await node.manifest()
    origin.put(files[4:])
    answer = await asked(node, SyncRequest(old.root))
    new = await node.manifest()
    held = {content.digest for content in contents_of(old)}
    assert len(answer.all(DeltaDocument)) == 1
    assert {contents_of(new)[number].digest for number in answer.order} == {
        content.digest for content in contents_of(new) if content.digest not in held
    }


async def test_what_is_lacking_comes_and_no_more(origin: Shelves, node: Node) -> None:
    origin.put(ct_series(9))
    manifest = await node.manifest()
    lacking = SyncRequest(manifest.root, lacking_headers=pack_bits({2}, 9), lacking_contents=pack_bits({1, 8}, 9))
    answer = await asked(node, lacking)
    assert answer.all(Unchanged)
    assert (answer.hdrs, set(answer.order)) == ({2}, {1, 8})


async def test_whoever_lacks_headers_cannot_follow_a_delta(origin: Shelves, node: Node) -> None:
    origin.put(ct_series(3))
    old = await node.manifest()
    origin.put(ct_series(3, change=rename("Doe^Janet")))
    answer = await asked(node, SyncRequest(old.root, lacking_headers=pack_bits({0}, 3)))
    assert answer.all(ManifestDocument)
    assert answer.hdrs == {0, 1, 2}
    assert not answer.order


async def test_a_root_that_is_not_known_is_answered_with_all(origin: Shelves, node: Node) -> None:
    origin.put(ct_series(2))
    answer = await asked(node, SyncRequest(sha256(b"elsewhere"), lacking_contents=b"\1"))
    assert answer.all(ManifestDocument)
    assert (answer.hdrs, set(answer.order)) == ({0, 1}, {0, 1})


class TestRenditions:
    @pytest.fixture
    async def made(self, origin: Shelves, node: Node) -> dict[Digest, Rendition]:
        origin.put(ct_series(5, rows=ROWS))
        return render(origin, await node.manifest())

    async def test_lowest_resolutions_of_all_before_the_rest_of_any(
        self, origin: Shelves, node: Node, made: dict[Digest, Rendition]
    ) -> None:
        manifest = await node.manifest()
        answer = await asked(node, SyncRequest(levels=2))
        contents = contents_of(manifest)
        by_number = {number: made[content.digest] for number, content in enumerate(contents)}
        assert {form.number: form.digest for form in answer.all(Form)} == {
            number: rendition.digest for number, rendition in by_number.items()
        }
        assert answer.order == answer.order[:5] * 2
        first = {piece.number: piece for piece in answer.all(Piece)[:5]}
        for number, rendition in by_number.items():
            assert len(first[number].data) == rendition.resolution_offsets[1]
        entry = manifest.entries[0]
        assert entry.pixel is not None
        for number, data in answer.contents().items():
            assert sha256(data) == by_number[number].digest
            assert sha256(rebuilt(data, PixelDescription(**entry.pixel))) == contents[number].digest
        assert answer.size < 5 * ROWS * ROWS * 2

    async def test_whoever_does_not_decode_gets_what_is_stored(self, node: Node, made: dict[Digest, Rendition]) -> None:
        answer = await asked(node)
        assert not answer.all(Form)
        assert {sha256(data) for data in answer.contents().values()} == set(made)

    async def test_a_part_is_gone_on_with(self, node: Node, made: dict[Digest, Rendition]) -> None:
        manifest = await node.manifest()
        contents = contents_of(manifest)
        rendition = made[contents[3].digest]
        held = rendition.resolution_offsets[1] + 5
        request = SyncRequest(
            manifest.root,
            levels=2,
            lacking_contents=pack_bits({3}, 5),
            parts=(part_of(3, rendition.digest, held),),
        )
        answer = await asked(node, request)
        assert [(piece.number, piece.offset) for piece in answer.all(Piece)] == [(3, held)]
        assert sum(len(piece.data) for piece in answer.all(Piece)) == rendition.length - held

    async def test_a_part_of_another_form_is_of_no_use(self, node: Node, made: dict[Digest, Rendition]) -> None:
        manifest = await node.manifest()
        request = SyncRequest(
            manifest.root, lacking_contents=pack_bits({3}, 5), parts=(part_of(3, sha256(b"another"), 100),)
        )
        assert [piece.offset for piece in (await asked(node, request)).all(Piece)] == [0]

    async def test_what_is_wholly_held_and_not_trusted_comes_anew(self, node: Node, made: object) -> None:
        manifest = await node.manifest()
        content = contents_of(manifest)[0]
        request = SyncRequest(
            manifest.root,
            lacking_contents=pack_bits({0}, 5),
            parts=(part_of(0, content.digest, content.length),),
        )
        assert (await asked(node, request)).contents() != {}

    async def test_a_rendition_that_is_gone_goes_as_stored(
        self, origin: Shelves, node: Node, made: dict[Digest, Rendition]
    ) -> None:
        manifest = await node.manifest()
        contents = contents_of(manifest)
        origin.store.release(STUDY, [made[contents[1].digest].digest])
        answer = await asked(node, SyncRequest(levels=2))
        assert sha256(answer.contents()[1]) == contents[1].digest
        assert not answer.all(Absent)
        assert {form.number for form in answer.all(Form)} == {0, 2, 3, 4}


async def test_what_cannot_be_had_is_absent_and_the_rest_comes(
    origin: Shelves, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.put(ct_series(4))
    contents = contents_of(await node.manifest())
    read = node.services.contents.read

    async def failing(
        context: Context, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None
    ) -> bytes:
        if digest == contents[2].digest:
            raise UpstreamUnavailable("away")
        return await read(context, study, digest, start, stop)

    monkeypatch.setattr(node.services.contents, "read", failing)
    answer = await asked(node)
    assert answer.all(Absent) == [Absent(2)]
    assert set(answer.contents()) == {0, 1, 3}


async def test_large_contents_come_in_parts(origin: Shelves, node: Node) -> None:
    origin.put(ct_series(1, rows=1800))
    answer = await asked(node)
    pieces = answer.all(Piece)
    assert [piece.offset for piece in pieces] == [0, PART_BYTES]
    assert sha256(answer.contents()[0]) == contents_of(await node.manifest())[0].digest


@pytest.mark.parametrize(
    ("params", "status"), [({"from": "x"}, 400), ({"levels": "many"}, 400), ({"levels": "99"}, 400)]
)
async def test_what_cannot_be_read(origin: Shelves, node: Node, params: dict[str, str], status: int) -> None:
    origin.put(ct_series(1))
    assert (await node.client.get(f"{URL}/sync", params=params)).status_code == status


async def test_a_part_of_nothing_is_refused(origin: Shelves, node: Node) -> None:
    origin.put(ct_series(1))
    request = SyncRequest((await node.manifest()).root, parts=(part_of(7, bytes(32), 1),))
    assert (await node.client.post(f"{URL}/sync", json=request.to_json())).status_code == 400


async def test_studies_that_are_not_there_or_not_to_be_seen(origin: Shelves, node: Node) -> None:
    assert (await node.client.get(f"{URL}/sync")).status_code == 404
    assert (await node.client.get(f"{URL}/sync", params={"from": "00" * 32})).status_code == 404
    origin.put(ct_series(1))
    node.context = Context("p", "main", scope=Scope(frozenset({"1.2.3"})))
    assert (await node.client.get(f"{URL}/sync")).status_code == 403


async def test_head_says_what_it_would_be_and_reads_nothing(origin: Shelves, node: Node) -> None:
    origin.put(ct_series(1))
    response = await node.client.head(f"{URL}/sync")
    assert (response.status_code, response.content) == (200, b"")
    assert node.sent["frame"] == 0


async def test_a_client_that_goes_away_costs_no_more(
    origin: Shelves, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes what was read: only the few contents read ahead are read, and the reads that wait are ended."""
    origin.put(ct_series(50))
    read = node.services.contents.read
    began: list[Digest] = []

    async def counting(
        context: Context, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None
    ) -> bytes:
        began.append(digest)
        return await read(context, study, digest, start, stop)

    monkeypatch.setattr(node.services.contents, "read", counting)
    taken = 0

    async def send(message: Any) -> None:
        nonlocal taken
        taken += len(message.get("body", b""))
        if taken > 5000:
            raise OSError("the client went away")

    scope = {"type": "http", "method": "GET", "path": f"{URL}/sync", "headers": [], "query_string": b""}
    gone = asyncio.Event()

    async def receive() -> Any:
        await gone.wait()

    with pytest.raises(OSError, match="went away"):
        await node.app(scope, receive, send)
    assert len(began) < 20
    assert node.metrics.value(SYNC_SENT_BYTES, kind="frame") < 20 * 16 * 16 * 2
