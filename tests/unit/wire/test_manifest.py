"""Manifests: full inverse, roots that change when they should, hostile input."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nearframe.errors import IntegrityError, MalformedRequest, NearframeError
from nearframe.wire.document import compress, dump_json
from nearframe.wire.frametable import FrameTable
from nearframe.wire.manifest import InstanceEntry, Manifest
from nearframe.wire.manifestjson import decode_manifest, encode_manifest, manifest_from_json, manifest_to_json
from nearframe.wire.merkle import leaf, leaves, merkle_root, subtree
from tests.unit.wire.manifests import STUDY, ct_series, ordered, studies


@settings(max_examples=30)  # drawing a study is slow
@given(studies(), st.randoms())
def test_every_instance_comes_back(entries: list[InstanceEntry], rng: Any) -> None:
    shuffled = entries.copy()
    rng.shuffle(shuffled)
    manifest = Manifest.of(STUDY, shuffled)
    assert list(manifest.entries) == ordered(entries)
    assert manifest.root == Manifest.of(STUDY, entries).root
    back = decode_manifest(encode_manifest(manifest))
    assert back == manifest
    assert [dump_json(e.metadata) for e in back.entries] == [dump_json(e.metadata) for e in manifest.entries]


def test_a_thousand_slices_take_about_a_hundred_kilobytes() -> None:
    entries = ct_series(1000)
    size = len(encode_manifest(Manifest.of(STUDY, entries)))
    with_pix = len(encode_manifest(Manifest.of(STUDY, ct_series(1000, with_pix=True))))
    assert 64_000 < size < 100_000  # two random digests an instance are 64 000
    assert with_pix < size + 33_500


def test_the_json_form() -> None:
    one, two = (replace(entry, hdr=bytes([n]) * 32) for n, entry in enumerate(ct_series(2)))
    document = manifest_to_json(Manifest.of(STUDY, [one, two]))
    (series,) = document["series"]
    assert document["v"] == 1
    assert document["study"] == STUDY
    # A study of one series: what the series shares, the study shares.
    assert document["common"]["00100020"] == {"vr": "LO", "Value": ["PID-1"]}
    assert series["common"] == {}
    assert series["vary"]["00200013"] == {"vr": "IS", "Value": [[1], [2]]}
    assert (series["version"], series["tsuid"], series["len"]) == (1, "1.2.840.10008.1.2.1", 524288)
    assert len(series["enc"]) == 2
    assert set(series) == {"uid", "common", "vary", "version", "tsuid", "len", "pixel", "enc", "hdr"}


def test_the_root_is_what_the_reference_says() -> None:
    """`docs/reference/manifest.md`, section Root, written out."""
    entries = ct_series(3)
    manifest = Manifest.of(STUDY, entries)
    (table,) = manifest.series

    def canonical(value: Any) -> bytes:  # every number here is an integer or a short decimal
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return text.replace(".0,", ",").replace(".0]", "]").encode()

    rows = ordered(entries)
    series_root = merkle_root(
        [
            leaf("series", canonical(table.series_instance_uid)),
            leaf("common", canonical({})),
            leaf("vary", canonical(table.vary)),
            leaf("layout", canonical(table.layout | {"n": [1, 1, 1]})),
            subtree("hdrs", leaves("hdr", [row.hdr for row in rows])),
            subtree("encs", leaves("enc", [row.frames.enc for row in rows])),
        ]
    )
    assert manifest.root == merkle_root(
        [
            leaf("study", canonical({"study": STUDY, "v": 1})),
            leaf("common", canonical(manifest.common)),
            leaf("root", series_root),
        ]
    )


@settings(max_examples=30)  # drawing a study is slow
@given(studies().filter(bool), st.data())
def test_whatever_changes_changes_the_root(entries: list[InstanceEntry], data: st.DataObject) -> None:
    root = Manifest.of(STUDY, entries).root
    at = data.draw(st.integers(0, len(entries) - 1))
    entry = entries[at]
    changed = data.draw(
        st.sampled_from(
            [
                replace(entry, version=entry.version + 1),
                replace(entry, transfer_syntax_uid="1.2.3"),
                replace(entry, hdr=bytes(32)),
                replace(entry, pixel={"rows": 9}),
                replace(entry, metadata=entry.metadata | {"00104000": {"vr": "LT", "Value": ["x"]}}),
                replace(entry, notes=(*entry.notes, "more")),
                replace(entry, frames=FrameTable.of([(b"e" * 32, None, 5)])),
                replace(entry, identity=replace(entry.identity, sop_instance_uid="9.9")),
                replace(entry, identity=replace(entry.identity, sop_class_uid="9.9")),
            ]
        )
    )
    assume(changed != entry)  # a drawn digest may be the zeros that it would be changed to
    assert Manifest.of(STUDY, [*entries[:at], changed, *entries[at + 1 :]]).root != root
    assert Manifest.of(STUDY, [*entries[:at], *entries[at + 1 :]]).root != root


@settings(max_examples=30)  # drawing a study is slow
@given(studies())
def test_pixel_digests_found_later_do_not_change_the_root(entries: list[InstanceEntry]) -> None:
    later = [replace(e, frames=e.frames.with_pix([b"p" * 32] * len(e.frames))) for e in entries]
    assert Manifest.of(STUDY, later).root == Manifest.of(STUDY, entries).root


def test_a_changed_document_is_refused() -> None:
    document = manifest_to_json(Manifest.of(STUDY, ct_series(3)))
    changes: list[tuple[tuple[Any, ...], Any]] = [
        (("common", "00100020"), {"vr": "LO", "Value": ["PID-2"]}),
        (("root",), "00" * 32),
        (("series", 0, "version"), 2),
        (("series", 0, "hdr"), document["series"][0]["hdr"].swapcase()),
    ]
    for path, value in changes:
        changed = deepcopy(document)
        target = changed
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value
        with pytest.raises(IntegrityError):
            manifest_from_json(changed)


def _delete(document: dict[str, Any], member: str) -> None:
    del document["series"][0][member]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("root"),
        lambda d: d.update(v=2),
        lambda d: d.update(series=None),
        lambda d: d.update(study=5),
        lambda d: _delete(d, "enc"),
        lambda d: d["series"][0].update(enc=["AAAA"] * 3),
        lambda d: d["series"][0].update(enc=d["series"][0]["enc"][:2]),
        lambda d: d["series"][0].update(hdr=d["series"][0]["hdr"][:43]),
        lambda d: d["series"][0].update(len=[1, 2]),
        lambda d: d["series"][0].update(len=-1),
        lambda d: d["series"][0].update(len=1 << 60),
        lambda d: d["series"][0].update(len="many"),
        lambda d: d["series"][0].update(ids=[["a", "b"]]),
        lambda d: d["series"][0].update(pieces=[[0]]),
        lambda d: d["series"][0].update(pix="AAAA"),
        lambda d: d["series"][0]["vary"].update({"00100010": {"Value": []}}),
        lambda d: d["series"][0]["vary"].update({"00100010": {"vr": "PN", "Value": [None] * 4}}),
    ],
)
def test_what_is_no_manifest_is_refused(spoil: Any) -> None:
    document = manifest_to_json(Manifest.of(STUDY, ct_series(3)))
    spoil(document)
    with pytest.raises(MalformedRequest):
        manifest_from_json(document)


@given(st.binary(max_size=80))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for attempt in (data, compress(data)):
        with pytest.raises(NearframeError):
            decode_manifest(attempt)
