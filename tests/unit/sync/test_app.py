"""The routes between nodes, over HTTP without sockets."""

from __future__ import annotations

from collections import Counter

import pytest
import zstandard

from nearframe.context import Context, Scope, local_admin
from nearframe.ids import Digest, sha256
from nearframe.metrics import SYNC_SENT, SYNC_SENT_BYTES
from nearframe.storage.ports import ContentKind, PerceptualRow, Rendition, StudyRef
from nearframe.sync.contents import MAX_CONTENTS
from nearframe.wire.contentstream import Absent, ContentStreamReader, Data, Opened
from nearframe.wire.delta import decode_delta
from nearframe.wire.document import compress
from nearframe.wire.hashes import HASH_BYTES, HashEntry, decode_hashes
from nearframe.wire.headerstream import HeaderStreamReader
from nearframe.wire.renditions import RenditionEntry, decode_renditions
from tests.syncing import Shelves, ct_series, rename
from tests.unit.sync.conftest import STUDY, URL, Node


class TestFeed:
    async def test_pages_and_cursors(self, origin: Shelves, node: Node) -> None:
        origin.put(ct_series(1, study="1.2"))
        origin.put(ct_series(1, study="1.3"))
        origin.catalogue.delete(StudyRef("main", "1.2"), None, None)
        page = (await node.client.get("/api/feed")).json()
        assert [(entry["study"], entry["instances"]) for entry in page["studies"]] == [("1.3", 1), ("1.2", 0)]
        assert page["next"] == str(origin.catalogue.head())
        again = await node.client.get("/api/feed", params={"after": page["next"], "wait": 0})
        assert again.json() == {"next": page["next"], "studies": []}
        assert len(again.content) < 80

    async def test_another_epoch_is_410(self, node: Node) -> None:
        assert (await node.client.get("/api/feed", params={"after": "elsewhere:3"})).status_code == 410

    @pytest.mark.parametrize("params", [{"after": "x"}, {"limit": "-1"}, {"wait": "soon"}])
    async def test_what_cannot_be_read(self, node: Node, params: dict[str, str]) -> None:
        assert (await node.client.get("/api/feed", params=params)).status_code == 400


class TestManifest:
    async def test_its_validator_is_its_root(self, origin: Shelves, node: Node) -> None:
        origin.put(ct_series(2))
        manifest = await node.manifest()
        response = await node.client.get(f"{URL}/manifest")
        assert response.headers["etag"] == f'"{manifest.root.hex()}"'
        assert response.headers["content-encoding"] == "zstd"
        again = await node.client.get(f"{URL}/manifest", headers={"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert node.sent == Counter(manifest=2)
        plain = await node.client.get(f"{URL}/manifest", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.json() == response.json()

    async def test_no_such_study(self, node: Node) -> None:
        assert (await node.client.get(f"{URL}/manifest")).status_code == 404


class TestDelta:
    async def test_equal_changed_unknown(self, origin: Shelves, node: Node) -> None:
        origin.put(ct_series(3))
        root = (await node.manifest()).root
        equal = await node.client.get(f"{URL}/delta", params={"from": root.hex()})
        assert (equal.status_code, equal.headers["etag"]) == (304, f'"{root.hex()}"')
        origin.put(ct_series(3, change=rename("Doe^Janet")))
        changed = await node.client.get(f"{URL}/delta", params={"from": root.hex()})
        assert changed.status_code == 200
        delta = decode_delta(compress(changed.content))  # the client has opened it
        assert (delta.old_root, delta.new_root) == (root, (await node.manifest()).root)
        unknown = await node.client.get(f"{URL}/delta", params={"from": "00" * 32})
        assert unknown.status_code == 404
        assert (await node.client.get(f"{URL}/delta")).status_code == 400
        assert node.sent["delta"] == 1
        assert node.metrics.value(SYNC_SENT_BYTES, kind="delta") < 400


class TestHeaders:
    async def test_in_the_order_of_the_manifest(self, origin: Shelves, node: Node) -> None:
        origin.put(ct_series(30))
        manifest = await node.manifest()
        wanted = {"root": manifest.root.hex(), "at": [[0, 20], [25, 30]]}
        async with node.client.stream("POST", f"{URL}/headers", json=wanted) as response:
            body = b"".join([chunk async for chunk in response.aiter_raw()])
        assert response.headers["content-encoding"] == "zstd"
        reader = HeaderStreamReader(max_bytes=100_000)
        blobs = list(reader.feed(zstandard.ZstdDecompressor().decompressobj().decompress(body)))
        reader.close()
        entries = [*manifest.entries[:20], *manifest.entries[25:]]
        assert [sha256(blob) for blob in blobs] == [entry.hdr for entry in entries]
        assert len(body) < 25 * 200
        assert node.sent["header"] == 25

    @pytest.mark.parametrize("body", [b"", b"[]", b'{"root":"00"}', b'{"root":5,"at":[]}', b'{"at":[[0,1]]}'])
    async def test_what_cannot_be_read(self, node: Node, body: bytes) -> None:
        assert (await node.client.post(f"{URL}/headers", content=body)).status_code == 400

    @pytest.mark.parametrize("at", [None, 5, [[0]], [[0, 9]], [["a", "b"]], [[1, 0]]])
    async def test_ranges_that_do_not_fit(self, origin: Shelves, node: Node, at: object) -> None:
        origin.put(ct_series(2))
        root = (await node.manifest()).root.hex()
        assert (await node.client.post(f"{URL}/headers", json={"root": root, "at": at})).status_code == 400

    async def test_a_state_that_is_not_known(self, origin: Shelves, node: Node) -> None:
        origin.put(ct_series(2))
        response = await node.client.post(f"{URL}/headers", json={"root": "00" * 32, "at": [[0, 1]]})
        assert response.status_code == 404


async def frame_digests(node: Node) -> list[Digest]:
    return [entry.frames.enc for entry in (await node.manifest()).entries]


class TestContents:
    async def test_one_with_ranges_and_validators(self, origin: Shelves, node: Node) -> None:
        origin.put(ct_series(2))
        digest, _ = await frame_digests(node)
        frame = origin.store.read(STUDY, digest)
        url = f"{URL}/contents/{digest.hex()}"
        whole = await node.client.get(url)
        assert whole.content == frame
        assert whole.headers["etag"] == f'"{digest.hex()}"'
        assert "immutable" in whole.headers["cache-control"]
        assert whole.headers["repr-digest"].startswith("sha-256=:")
        part = await node.client.get(url, headers={"Range": "bytes=5-9"})
        assert (part.status_code, part.content) == (206, frame[5:10])
        assert (await node.client.get(url, headers={"If-None-Match": whole.headers["etag"]})).status_code == 304

    async def test_only_through_a_study_that_has_it(self, origin: Shelves, node: Node) -> None:
        origin.put(ct_series(1))
        origin.put(ct_series(1, study="1.2", seed=5))
        (digest,) = await frame_digests(node)
        for study in ("1.2", "1.9"):
            assert (await node.client.get(f"/api/studies/{study}/contents/{digest.hex()}")).status_code == 404
        node.context = local_admin("other")
        assert (await node.client.get(f"{URL}/contents/{digest.hex()}")).status_code == 404

    async def test_many_in_one_stream(self, origin: Shelves, node: Node) -> None:
        origin.put(ct_series(3))
        digests = [*reversed(await frame_digests(node)), sha256(b"unknown")]
        response = await node.client.post(f"{URL}/contents", json={"digests": [digest.hex() for digest in digests]})
        reader = ContentStreamReader(digests, max_length=1000)
        found: list[bytes | None] = []
        for event in reader.feed(response.content):
            match event:
                case Opened():
                    found.append(b"")
                case Absent():
                    found.append(None)
                case Data(data, _):
                    found[-1] = (found[-1] or b"") + data
        reader.close()
        assert found == [*(origin.store.read(STUDY, digest) for digest in digests[:3]), None]
        assert node.sent["frame"] == 3
        assert node.metrics.value(SYNC_SENT_BYTES, kind="frame") == 3 * 512

    @pytest.mark.parametrize("digests", [None, "x", ["zz"], [5], ["00" * 31]])
    async def test_what_cannot_be_read(self, node: Node, digests: object) -> None:
        assert (await node.client.post(f"{URL}/contents", json={"digests": digests})).status_code == 400

    async def test_too_many(self, node: Node) -> None:
        digests = ["00" * 32] * (MAX_CONTENTS + 1)
        assert (await node.client.post(f"{URL}/contents", json={"digests": digests})).status_code == 413


async def test_renditions_follow_the_manifest(origin: Shelves, node: Node) -> None:
    origin.put(ct_series(3))
    first, second, _ = await frame_digests(node)
    made = Rendition(second, "1.2.840.10008.1.2.4.202", sha256(b"htj2k"), 5, (1, 3, 5))
    origin.store.append(STUDY, ContentKind.DERIVED, made.digest, 5, [b"htj2k"])
    origin.catalogue.add_renditions("main", [made])
    response = await node.client.get(f"{URL}/renditions")
    renditions = decode_renditions(compress(response.content))
    assert renditions.entries == (None, RenditionEntry(made.digest, 5, (1, 3, 5)), None)
    assert (await node.client.get(f"{URL}/contents/{made.digest.hex()}")).content == b"htj2k"
    assert first != second


async def test_hashes_follow_the_manifest(origin: Shelves, node: Node) -> None:
    origin.put(ct_series(2))
    origin.put(ct_series(1, study="1.9"))
    records = {entry.identity: entry for entry in (await node.manifest()).entries}
    seen = next(iter(records))
    (enc, length) = next(iter(records[seen].frames))
    look = HashEntry(bytes(range(HASH_BYTES)), 80)
    origin.catalogue.add_hashes([PerceptualRow(STUDY, seen, 1, 0, enc, None, *look, "CT", length)])
    listed = decode_hashes(compress((await node.client.get(f"{URL}/hashes")).content))
    assert listed.root == (await node.manifest()).root
    assert listed.entries == (look, None)
    assert node.metrics.value(SYNC_SENT, kind="hashes") == 1


async def test_notes_in_words(origin: Shelves, node: Node) -> None:
    first, second, third = ct_series(3)
    origin.put([first, second[128:], third[128:] + bytes(4)])
    answer = (await node.client.get(f"{URL}/notes")).json()
    assert answer["root"] == (await node.manifest()).root.hex()
    assert answer["notes"][0] == {
        "code": "no_preamble",
        "meaning": "the 128-byte preamble is missing",
        "instances": 2,
    }
    assert [(one["code"], one["instances"]) for one in answer["notes"][1:]] == [("trailing_bytes", 1)]


async def test_out_of_scope_is_403(origin: Shelves, node: Node) -> None:
    origin.put(ct_series(1))
    node.context = Context("somebody", "main", Scope(frozenset(["1.9"])))
    for path in ("/manifest", "/delta?from=00", "/renditions", "/hashes", "/notes", f"/contents/{'00' * 32}"):
        assert (await node.client.get(URL + path)).status_code == 403


async def test_a_request_that_went_through_this_node_is_refused(node: Node) -> None:
    for via, status in (("1.1 node-2, 1.1 node-1", 508), ("1.1 node-2", 200)):
        assert (await node.client.get("/api/feed", headers={"Via": via})).status_code == status
