"""Contents, counted alike by whoever has the manifest."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nearframe.wire.manifest import Manifest
from nearframe.wire.manifestjson import decode_manifest, encode_manifest
from nearframe.wire.studycontents import contents_of
from tests.unit.wire.manifests import STUDY, instance_entries


@settings(max_examples=25)
@given(st.data())
def test_each_content_once_and_alike_on_both_sides(data: st.DataObject) -> None:
    entries = [data.draw(instance_entries(f"1.2.{n}")) for n in range(data.draw(st.integers(0, 4)))]
    manifest = Manifest.of(STUDY, entries)
    contents = contents_of(manifest)
    digests = [content.digest for content in contents]
    assert len(set(digests)) == len(digests)
    named = {enc for entry in entries for enc, _ in entry.frames} | {
        piece.digest for entry in entries for piece in entry.bulk
    }
    assert set(digests) == named
    assert contents_of(decode_manifest(encode_manifest(manifest))) == contents
    for content in contents:
        if content.frame_index is not None:
            assert manifest.entries[content.entry].frames.enc_of(content.frame_index) == content.digest
