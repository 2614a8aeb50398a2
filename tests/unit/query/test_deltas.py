"""Deltas with headers, on real headers: byte-exact, proved, and as small as the change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nearframe.errors import IntegrityError, LimitExceeded, MalformedRequest, NotFound
from nearframe.ids import Digest, sha256
from nearframe.query import deltas
from nearframe.query.deltas import Deltas, apply_delta, make_delta
from nearframe.query.headeredits import Part10Edits
from nearframe.query.manifests import Manifests, build_manifest
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef
from nearframe.wire.delta import Delta, decode_delta, encode_delta
from nearframe.wire.manifest import Manifest
from tests.syncing import STUDY_UID, Shelves, accession, ct_series, edited, implicit, rename, shelves

STUDY = StudyRef("main", STUDY_UID)
CODEC = Part10Edits()


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


@pytest.fixture
def workers() -> Iterator[Workers]:
    pool = Workers("test", 2)
    yield pool
    pool.close()


class Holder:
    """Somebody who holds the headers of one manifest and nothing else."""

    def __init__(self, origin: Shelves, manifest: Manifest) -> None:
        self.manifest = manifest
        self.headers = {entry.hdr: origin.store.read(STUDY, entry.hdr) for entry in manifest.entries}
        self.made: dict[Digest, bytes] = {}

    def apply(self, delta: Delta) -> Manifest:
        sent = decode_delta(encode_delta(delta))
        return apply_delta(self.manifest, sent, self.headers.__getitem__, CODEC, self.made.__setitem__)


def manifest_now(origin: Shelves) -> Manifest:
    return build_manifest(origin.catalogue, STUDY, origin.catalogue.state(STUDY))


def stored(origin: Shelves, hdr: Digest) -> bytes:
    return origin.store.read(STUDY, hdr)


def change_and_check(origin: Shelves, before: list[bytes], after: list[bytes]) -> Delta:
    """Store `before`, then `after`; return the delta, proved to lead to exactly the new headers."""
    origin.put(before)
    holder = Holder(origin, manifest_now(origin))
    origin.put(after)
    new = manifest_now(origin)
    delta = make_delta(holder.manifest, new, lambda hdr: stored(origin, hdr), CODEC)
    assert holder.apply(delta).root == new.root
    assert all(sha256(header) == hdr for hdr, header in holder.made.items())
    assert {entry.hdr for entry in new.entries} <= holder.headers.keys() | holder.made.keys()
    return delta


def test_a_rename_is_one_edit(origin: Shelves) -> None:
    delta = change_and_check(origin, ct_series(40), ct_series(40, change=rename("Doe^Janet^Marie")))
    ((_, runs),) = delta.edits
    assert runs == ((0, 40),)
    assert delta.blobs is None
    assert len(encode_delta(delta)) < 340


def test_other_instances_other_edits(origin: Shelves) -> None:
    files = ct_series(6)
    corrected = [edited(file, accession("A-2" if i % 2 else "A-3")) for i, file in enumerate(files[:4])]
    delta = change_and_check(origin, files, corrected)
    assert len(delta.edits) == 2
    assert delta.blobs is None


def test_another_encoding_travels_whole_but_compressed(origin: Shelves) -> None:
    files = ct_series(20)
    delta = change_and_check(origin, files, ct_series(20, change=implicit))
    assert delta.blobs is not None
    assert delta.blobs.at == ((0, 20),)
    assert len(encode_delta(delta)) < 20 * 300
    # The native pixels of Implicit and Explicit VR Little Endian are the same bytes: no frame has changed.
    assert [operation["path"] for operation in delta.patch if "/enc" in operation["path"]] == []


def test_new_instances_bring_their_headers(origin: Shelves) -> None:
    files = ct_series(30)
    delta = change_and_check(origin, files[:20], files[20:])
    assert delta.blobs is not None
    assert delta.added is not None
    assert len(encode_delta(delta)) < 10 * 350


def test_nothing_changed(origin: Shelves) -> None:
    files = ct_series(2)
    delta = change_and_check(origin, files, files)
    assert (delta.edits, delta.blobs, delta.added, delta.dropped) == ((), None, None, ())


def _forge_edit(delta: Delta) -> Delta:
    ((edit, runs),) = delta.edits
    forged = {"dataset": {**edit["dataset"], "00100010": "EAAQAFBOCgBEb2VeSmFuZXggIA=="}}
    return replace(delta, edits=((forged, runs),))


@pytest.mark.parametrize(
    "forge",
    [
        _forge_edit,
        lambda delta: replace(delta, edits=()),
        lambda delta: replace(delta, edits=tuple((edit, ((0, 2),)) for edit, _ in delta.edits)),
        lambda delta: replace(delta, new_root=bytes(32)),
        lambda delta: replace(delta, old_root=bytes(32)),
    ],
)
def test_what_does_not_add_up_is_refused(origin: Shelves, forge: Callable[[Delta], Delta]) -> None:
    origin.put(ct_series(3))
    holder = Holder(origin, manifest_now(origin))
    origin.put(ct_series(3, change=rename("Doe^Janet")))
    delta = make_delta(holder.manifest, manifest_now(origin), lambda hdr: stored(origin, hdr), CODEC)
    with pytest.raises(IntegrityError):
        holder.apply(forge(delta))


@pytest.mark.parametrize(
    "edits",
    [
        (({"dataset": {"00100010": "?"}}, ((0, 3),)),),
        (({"dataset": {}}, ((0, 4),)),),
        ((5, ((0, 1),)),),
    ],
)
def test_what_cannot_be_followed_is_refused(origin: Shelves, edits: Any) -> None:
    origin.put(ct_series(3))
    holder = Holder(origin, manifest_now(origin))
    origin.put(ct_series(3, change=rename("Doe^Janet")))
    delta = make_delta(holder.manifest, manifest_now(origin), lambda hdr: stored(origin, hdr), CODEC)
    with pytest.raises(MalformedRequest):
        holder.apply(replace(delta, edits=edits))


def test_too_many_new_headers_are_no_delta(origin: Shelves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "MAX_BLOB_BYTES", 10_000)
    with pytest.raises(LimitExceeded):
        change_and_check(origin, ct_series(1), ct_series(20, seed=2))


class TestService:
    async def test_unchanged_changed_and_unknown(self, origin: Shelves, workers: Workers) -> None:
        manifests = Manifests(origin.catalogue, workers, 1_000_000)
        service = Deltas(origin.catalogue, origin.store, manifests, CODEC, workers, 1_000_000)
        origin.put(ct_series(3))
        before = (await manifests.current(STUDY)).manifest
        assert await service.since(STUDY, before.root) is None
        origin.put(ct_series(3, change=rename("Doe^Janet")))
        delta = await service.since(STUDY, before.root)
        assert delta is not None
        assert await service.since(STUDY, before.root) is delta
        assert Holder(origin, before).apply(decode_delta(delta)).root == (await manifests.current(STUDY)).manifest.root
        with pytest.raises(NotFound):
            await service.since(STUDY, bytes(32))

    async def test_more_than_is_worth_sending_is_not_found(
        self, origin: Shelves, workers: Workers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deltas, "MAX_BLOB_BYTES", 10_000)
        manifests = Manifests(origin.catalogue, workers, 1_000_000)
        service = Deltas(origin.catalogue, origin.store, manifests, CODEC, workers, 1_000_000)
        origin.put(ct_series(1))
        before = (await manifests.current(STUDY)).manifest
        origin.put(ct_series(20, seed=2))
        with pytest.raises(NotFound):
            await service.since(STUDY, before.root)
