"""Deltas: from any manifest of a study to any other, proved by the root, small where the change is."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearframe.errors import IntegrityError, MalformedRequest, NearframeError
from nearframe.wire.delta import (
    Delta,
    HeaderBlobs,
    compare,
    decode_delta,
    encode_delta,
    indices_of,
    pack_blobs,
    patched,
    proved,
    runs_of,
    unpack_blobs,
)
from nearframe.wire.document import encode_document
from nearframe.wire.manifest import InstanceEntry, Manifest
from tests.unit.wire.manifests import STUDY, ct_series, studies


def apply(old: Manifest, delta: Delta, new: Manifest) -> Manifest:
    """Apply a delta as one would who knows the new headers."""
    return proved(patched(old, delta), delta, [entry.hdr for entry in new.entries])


def renamed(entry: InstanceEntry, name: str = "Doe^Janet") -> InstanceEntry:
    metadata = entry.metadata | {"00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]}}
    return replace(entry, metadata=dict(sorted(metadata.items())), version=2, hdr=bytes(32))


@settings(max_examples=50)
@given(studies(), studies())
def test_any_manifest_from_any_other(before: list[InstanceEntry], after: list[InstanceEntry]) -> None:
    old, new = Manifest.of(STUDY, before), Manifest.of(STUDY, after)
    delta = decode_delta(encode_delta(compare(old, new)))
    assert apply(old, delta, new).root == new.root


def test_a_rename_of_a_thousand_slices_is_a_third_of_a_kilobyte() -> None:
    entries = ct_series(1000)
    old, new = Manifest.of(STUDY, entries), Manifest.of(STUDY, map(renamed, entries))
    delta = compare(old, new)
    assert [operation["path"] for operation in delta.patch] == [
        "/root",
        "/root",
        "/common/00100010/Value/0/Alphabetic",
        "/series/0/version",
    ]
    whole = replace(delta, edits=((["00100010", "PN", "RG9lXkphbmV0"], ((0, 1000),)),))
    assert len(encode_delta(whole)) < 330


def test_new_instances_cost_what_they_are_and_patch_nothing() -> None:
    entries = ct_series(1000)
    old = Manifest.of(STUDY, random.Random(1).sample(entries, 900))
    new = Manifest.of(STUDY, entries)
    delta = compare(old, new)
    assert [operation["path"] for operation in delta.patch] == ["/root", "/root"]
    assert len(encode_delta(delta)) < 80 * 100  # a frame digest and what varies
    assert apply(old, delta, new).root == new.root
    back = compare(new, old)
    assert len(back.dropped) <= 100
    assert len(encode_delta(back)) < 800


def test_one_comment_on_one_instance() -> None:
    entries = ct_series(1000)
    note = {"00204000": {"vr": "LT", "Value": ["seen"]}}
    old = Manifest.of(STUDY, entries)
    new = Manifest.of(STUDY, [replace(entries[0], metadata=entries[0].metadata | note), *entries[1:]])
    assert len(encode_delta(compare(old, new))) < 300


def test_pixel_digests_are_taken_over() -> None:
    entries = ct_series(4, with_pix=True)
    old, new = Manifest.of(STUDY, entries[:3]), Manifest.of(STUDY, map(renamed, entries))
    assert apply(old, compare(old, new), new) == new


def test_pixel_digests_are_not_taken_over_to_other_samples() -> None:
    entries = ct_series(1, with_pix=True)
    changed = replace(entries[0], pixel={"rows": 512, "columns": 512, "pixel_representation": 1})
    old, new = Manifest.of(STUDY, entries), Manifest.of(STUDY, [changed])
    (entry,) = apply(old, compare(old, new), new).entries
    assert entry.frames.pix_of(0) is None


def test_headers_stay_as_they_were_until_they_are_known() -> None:
    entries = ct_series(3)
    old, new = Manifest.of(STUDY, entries[:2]), Manifest.of(STUDY, map(renamed, entries))
    hdrs = {entry.place: entry.hdr for entry in patched(old, compare(old, new)).entries}
    assert [hdrs[entry.place] for entry in entries] == [entries[0].hdr, entries[1].hdr, bytes(32)]


def test_a_delta_for_another_manifest_is_refused() -> None:
    entries = ct_series(3)
    old, new = Manifest.of(STUDY, entries[:2]), Manifest.of(STUDY, entries)
    with pytest.raises(IntegrityError):
        patched(new, compare(old, new))


def test_a_delta_that_leads_elsewhere_is_refused() -> None:
    entries = ct_series(3)
    old, new = Manifest.of(STUDY, entries), Manifest.of(STUDY, map(renamed, entries))
    delta = compare(old, new)
    with pytest.raises(IntegrityError, match="root"):
        patched(old, replace(delta, new_root=bytes(32)))
    with pytest.raises(IntegrityError, match="root"):
        proved(patched(old, delta), delta, [bytes(31) + b"x"] * 3)
    forged = [*delta.patch[:2], {"op": "replace", "path": "/common/00100010/Value/0/Alphabetic", "value": "Roe"}]
    with pytest.raises(IntegrityError, match="root"):
        apply(old, replace(delta, patch=forged), new)


@pytest.mark.parametrize("dropped", [((0, 4),), ((-1, 1),), ((1, 1),), ((1, 2), (0, 1)), ((0, 2), (1, 3))])
def test_runs_that_do_not_fit_are_refused(dropped: Any) -> None:
    entries = ct_series(3)
    old = Manifest.of(STUDY, entries)
    with pytest.raises(MalformedRequest):
        patched(old, replace(compare(old, old), dropped=dropped))


@given(st.sets(st.integers(0, 30)))
def test_runs_come_back(indices: set[int]) -> None:
    runs = runs_of(sorted(indices))
    assert list(indices_of(runs, 31)) == sorted(indices)
    assert all(a[1] < b[0] for a, b in pairwise(runs))


@given(st.lists(st.binary(max_size=300), max_size=6), st.binary(max_size=600))
def test_blobs_come_back(blobs: list[bytes], dictionary: bytes) -> None:
    assert list(unpack_blobs(pack_blobs(blobs, dictionary), dictionary)) == blobs


def test_blobs_cost_what_is_new_in_them() -> None:
    rng = random.Random(5)
    base = [rng.randbytes(4000) for _ in range(20)]
    blobs = [blob[:1000] + b"inserted" + blob[1000:] for blob in base]
    assert len(pack_blobs(blobs, b"".join(base))) < 40 * len(blobs)


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_no_bytes_break_the_blob_reader(data: bytes, dictionary: bytes) -> None:
    with suppress(MalformedRequest):
        assert list(unpack_blobs(data, dictionary)) == []
    whole = pack_blobs([b"header"], dictionary)
    for attempt in (whole[:-1], whole + b"x"):
        with pytest.raises(MalformedRequest):
            list(unpack_blobs(attempt, dictionary))


def test_every_member_comes_back() -> None:
    delta = Delta(
        old_root=bytes(32),
        new_root=b"n" * 32,
        dropped=((0, 2), (5, 6)),
        added={"v": 1},
        patch=[{"op": "remove", "path": "/x"}],
        edits=(({"any": ["json"]}, ((1, 2),)),),
        blobs=HeaderBlobs(at=((3, 4),), base=((0, 1),), data=b"\0\1"),
    )
    assert decode_delta(encode_delta(delta)) == delta


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"from": "00"},
        {"to": None},
        {"drop": [[0]]},
        {"drop": [["a", "b"]]},
        {"patch": 5},
        {"edits": [[1]]},
        {"blobs": {"at": []}},
        {"blobs": {"at": [], "base": [], "data": "?"}},
    ],
)
def test_what_is_no_delta_is_refused(change: dict[str, Any]) -> None:
    document = {"v": 1, "from": "00" * 32, "to": "11" * 32, "patch": []}
    decode_delta(encode_document(document))
    with pytest.raises(MalformedRequest):
        decode_delta(encode_document(document | change))


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(NearframeError):
        decode_delta(data)
