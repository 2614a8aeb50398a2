"""What a reader wants first."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from nearframe.dicom.rejection import KEY_OBJECT_SELECTION
from nearframe.ids import Identity, sha256
from nearframe.sync.order import sending_order, spread
from nearframe.wire.frametable import FrameTable
from nearframe.wire.manifest import BulkPiece, InstanceEntry, Manifest
from nearframe.wire.studycontents import contents_of
from tests.unit.wire.manifests import CT_IMAGE, EXPLICIT_LE, STUDY, instance_entries


def slice_(number: int, series: str = "1.2.1", frames: int = 1) -> InstanceEntry:
    uid = f"{series}.{900 - number}"  # the manifest's order is not the one of the pictures
    return InstanceEntry(
        identity=Identity(CT_IMAGE, uid, series, STUDY),
        version=1,
        transfer_syntax_uid=EXPLICIT_LE,
        hdr=sha256(uid.encode()),
        frames=FrameTable.of([(sha256(f"{uid}/{n}".encode()), None, 10) for n in range(frames)]),
        metadata={"00200013": {"vr": "IS", "Value": [number]}},
        pieces=tuple(range(frames)),
    )


def shown(entries: list[InstanceEntry]) -> list[tuple[str, int]]:
    """Return series and instance number of the contents, in sending order."""
    manifest = Manifest.of(STUDY, entries)
    contents = contents_of(manifest)
    found = [manifest.entries[contents[number].entry] for number in sending_order(manifest, contents)]
    return [(entry.identity.series_instance_uid, entry.metadata["00200013"]["Value"][0]) for entry in found]


def test_first_middle_last_then_the_largest_gaps() -> None:
    assert [number for _, number in shown([slice_(n) for n in range(1, 10)])] == [1, 5, 9, 3, 7, 2, 4, 6, 8]


def test_series_take_turns() -> None:
    entries = [slice_(n, series) for n in (1, 2, 3) for series in ("1.2.1", "1.2.2")]
    assert shown(entries)[:2] == [("1.2.1", 1), ("1.2.2", 1)]
    assert {number for _, number in shown(entries)[4:]} == {3}


def test_key_images_come_before_all() -> None:
    marked = slice_(7)
    reference = {"00081155": {"vr": "UI", "Value": [marked.identity.sop_instance_uid]}}
    evidence = {"00081115": {"vr": "SQ", "Value": [{"00081199": {"vr": "SQ", "Value": [reference]}}]}}
    selection = replace(
        slice_(1, "1.2.9", frames=0),
        identity=Identity(KEY_OBJECT_SELECTION, "1.2.9.1", "1.2.9", STUDY),
        metadata={"0040A375": {"vr": "SQ", "Value": [evidence]}, "00200013": {"vr": "IS", "Value": [1]}},
    )
    assert shown([slice_(n) for n in range(1, 10)] + [selection])[0] == ("1.2.1", 7)


def test_large_values_beside_pictures_come_last_and_alone_they_are_what_is_looked_at() -> None:
    beside = replace(slice_(1), bulk=(BulkPiece(2, 1, sha256(b"lut"), 9),), pieces=(0, -1))
    report = replace(slice_(1, "1.2.2", frames=0), bulk=(BulkPiece(2, 1, sha256(b"pdf"), 9),), pieces=(-1,))
    manifest = Manifest.of(STUDY, [beside, slice_(2), report])
    contents = contents_of(manifest)
    digests = [contents[number].digest for number in sending_order(manifest, contents)]
    assert digests[-1] == sha256(b"lut")
    assert digests.index(sha256(b"pdf")) < 3


@given(st.integers(0, 70))
def test_every_place_has_one_turn(count: int) -> None:
    assert sorted(spread(count)) == list(range(count))


@settings(max_examples=25)
@given(st.data())
def test_everything_is_sent_once(data: st.DataObject) -> None:
    entries = [data.draw(instance_entries(f"1.2.{n}")) for n in range(data.draw(st.integers(0, 4)))]
    manifest = Manifest.of(STUDY, entries)
    contents = contents_of(manifest)
    assert sorted(sending_order(manifest, contents)) == list(range(len(contents)))
