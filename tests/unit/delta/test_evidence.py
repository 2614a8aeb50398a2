"""Bases are found by what the metadata says exactly, and only where they were measured to help."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nearframe.delta.evidence import BaseIndex, Evidence, KnownFrame, known_frames
from nearframe.delta.frame import FrameForm
from nearframe.dicom import transfersyntax as ts
from nearframe.errors import MalformedRequest
from nearframe.ids import Identity, sha256
from nearframe.perceptual.candidates import Candidate as Likeness
from nearframe.perceptual.candidates import Relation
from nearframe.perceptual.hashedframe import Sameness
from nearframe.wire.frametable import FrameTable
from nearframe.wire.manifest import InstanceEntry
from tests.frame_samples import grey
from tests.unit.perceptual.pictures import Row

PIXEL = grey(64, 64)


def attribute(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def metadata(z: float = 0, **more: Any) -> dict[str, Any]:
    """Describe an axial slice; keyword arguments are the tags' own."""
    described = {
        "00080060": attribute("CS", "CT"),
        "00180050": attribute("DS", 1),
        "00200012": attribute("IS", 1),
        "00200032": attribute("DS", -100, -100, z),
        "00200037": attribute("DS", 1, 0, 0, 0, 1, 0),
        "00200052": attribute("UI", "1.9"),
        "00280030": attribute("DS", 0.5, 0.5),
        "00181210": attribute("SH", "B30f"),
    }
    return described | {tag.removeprefix("t"): value for tag, value in more.items()}


def known(name: str, described: dict[str, Any], **more: Any) -> KnownFrame:
    """Return a frame whose digest is that of its name."""
    form = FrameForm(sha256(name.encode()), 8192, more.pop("syntax", ts.ExplicitVRLittleEndian), PIXEL)
    identity = Identity("1.2", more.pop("sop", f"1.{name}"), more.pop("series", "1.7"), "1.5")
    return KnownFrame(form, more.pop("pix", None), identity, more.pop("frame_index", 0), described, **more)


def found(target: KnownFrame, *held: KnownFrame) -> dict[Evidence, list[bytes]]:
    return {one.evidence: [form.enc for form in one.bases] for one in BaseIndex(held).candidates(target)}


def test_same_bytes_are_all_there_is_to_say() -> None:
    one, other = known("a", metadata()), known("a", metadata(), series="1.8")
    assert found(one, other, known("b", metadata(), series="1.8")) == {Evidence.SAME_BYTES: [other.form.enc]}


def test_same_pixels_by_their_digest() -> None:
    pix = sha256(b"samples")
    other = known("b", {}, pix=pix, syntax=ts.JPEG2000Lossless)
    assert found(known("a", {}, pix=pix), other) == {Evidence.SAME_PIXELS: [other.form.enc]}
    assert found(known("a", {}), other) == {}


def test_earlier_version_of_the_same_frame() -> None:
    frames = [known(f"v{v}f{f}", {}, sop="1.1", version=v, frame_index=f) for v in (1, 2) for f in (0, 1)]
    target = known("new", {}, sop="1.1", version=3, frame_index=1)
    assert found(target, *frames) == {Evidence.EARLIER_VERSION: [frames[3].form.enc]}


def test_named_source() -> None:
    base, other = known("a", {}, sop="1.1", frame_index=2), known("b", {}, sop="1.1", frame_index=3)
    reference = {"00081155": attribute("UI", "1.1"), "00081160": attribute("IS", 3)}
    target = known("c", {"00082112": attribute("SQ", reference)}, series="1.8")
    assert found(target, base, other) == {Evidence.SOURCE: [base.form.enc]}


def test_same_place_in_another_series() -> None:
    target = known("a", metadata(z=5))
    there = known("b", metadata(z=5.004), series="1.8")
    elsewhere = [
        known("c", metadata(z=6), series="1.8"),
        known("d", metadata(z=5)),  # its own series: the next moment or kernel, not a copy
        known("e", metadata(z=5, t00200052=attribute("UI", "1.10")), series="1.8"),
        known("f", {"00080060": attribute("CS", "CT")}, series="1.8"),
    ]
    assert found(target, there, *elsewhere) == {Evidence.SAME_PLACE: [there.form.enc]}


def test_place_in_functional_groups() -> None:
    groups = {
        "52009230": attribute(
            "SQ", *({"00209113": attribute("SQ", {"00200032": attribute("DS", -100, -100, z)})} for z in (0, 5))
        ),
        "52009229": attribute("SQ", {"00209116": attribute("SQ", {"00200037": metadata()["00200037"]})}),
        "00200052": metadata()["00200052"],
    }
    enhanced = known("a", groups, series="1.8", frame_index=1)
    classic = [known("b", metadata(z=0)), known("c", metadata(z=5))]
    assert found(enhanced, *classic) == {Evidence.SAME_PLACE: [classic[1].form.enc]}


def test_next_slice_other_kernel_and_other_direction_are_never_a_base() -> None:
    for one in ("CT", "MR", "PT", "NM", "XA"):
        modality = attribute("CS", one)
        stack = [known(f"s{z}", metadata(z=z, t00080060=modality)) for z in range(5)]
        assert found(known("new", metadata(z=5, t00080060=modality)), *stack) == {}
    kernel = known("k", metadata(t00181210=attribute("SH", "B70f")))
    assert found(known("a", metadata()), kernel) == {}
    for tag in ("t00189087", "t0019100C", "t20011003", "t00431039"):
        weighted: Any = {tag: attribute("FD", 1000), "t00080060": attribute("CS", "MR")}
        first, second = (known(f"d{n}", metadata(**weighted, t00200012=attribute("IS", n))) for n in (1, 2))
        assert found(second, first) == {}


def moment(n: int, **more: Any) -> KnownFrame:
    described = metadata(t00080060=attribute("CS", "MR"), t00200100=attribute("IS", n), **more)
    return known(f"m{n}{more}", described)


def test_last_three_moments_of_a_slice_the_latest_first() -> None:
    frames = [moment(n) for n in range(1, 7)]
    assert found(frames[4], *frames[:4], frames[5]) == {
        Evidence.PREVIOUS_FRAMES: [frame.form.enc for frame in (frames[3], frames[2], frames[1])]
    }
    other_echo = moment(1, t00180081=attribute("DS", 30))
    assert found(frames[1], other_echo) == {}


@pytest.mark.parametrize(("modality", "helps"), [("US", True), ("XA", False), ("NM", False), ("MR", False)])
def test_previous_frame_of_a_cine(modality: str, helps: bool) -> None:
    described = {"00080060": attribute("CS", modality)}
    frames = [known(f"c{n}", described, sop="1.1", frame_index=n) for n in range(4)]
    expected = {Evidence.PREVIOUS_FRAMES: [frames[1].form.enc]} if helps else {}
    assert found(frames[2], *frames[:2], frames[3]) == expected
    packed = [known(f"j{n}", described, sop="1.1", frame_index=n, syntax=ts.JPEGBaseline8Bit) for n in range(3)]
    assert found(packed[2], *packed[:2]) == {}


def test_thin_slices_within_a_thick_one_along_the_stack() -> None:
    thin = [known(f"t{z}", metadata(z=z)) for z in range(10)]
    thick = metadata(z=4, t00180050=attribute("DS", 5))
    expected = [thin[z].form.enc for z in range(1, 8)]
    assert found(known("thick", thick, series="1.8"), *reversed(thin))[Evidence.THIN_SLICES] == expected
    for more in (
        {"t00200012": attribute("IS", 2)},
        {"t00181210": attribute("SH", "B70f")},
        {"t00280030": attribute("DS", 0.6, 0.6)},
        {"t00180050": attribute("DS", 4.5)},
    ):
        others = [known(f"o{z}", metadata(z=z, **more)) for z in range(10)]
        assert Evidence.THIN_SLICES not in found(known("thick", thick, series="1.8"), *others)


def test_likeness_proposes_only_what_is_held() -> None:
    base, target = known("a", {}), known("b", {}, series="1.8")
    rows = [Row(one.identity, one.form.enc, None, bytes(32)) for one in (target, base)]
    alike = Likeness(rows[0], rows[1], Relation.SAME_PICTURE, 4, Sameness.UNPROVED)
    (candidate,) = BaseIndex([base]).candidates(target, [alike])
    assert (candidate.evidence, candidate.bases) == (Evidence.LOOKS_ALIKE, (base.form,))
    assert BaseIndex().candidates(target, [alike]) == ()


def test_depth_is_that_of_the_deepest_base() -> None:
    frames = [replace(moment(n), depth=n) for n in range(1, 4)]
    (candidate,) = BaseIndex(frames).candidates(moment(4))
    assert candidate.depth == 3


@pytest.mark.parametrize(
    "value", [["x"], [None] * 3, [1, 2], "text", [float("nan")] * 3, [1e300] * 3, [10**400] * 3, [{}, {}, {}]]
)
def test_values_that_make_no_sense_are_missing(value: Any) -> None:
    odd = {**metadata(), "00200032": {"vr": "DS", "Value": value}, "52009230": {"vr": "SQ", "Value": value}}
    assert found(known("a", odd), known("b", odd, series="1.8")) == {}


def test_frames_of_a_manifest() -> None:
    table = FrameTable.of([(sha256(b"1"), None, 5), (sha256(b"2"), sha256(b"p"), 6)])
    entry = InstanceEntry(
        Identity("1.2", "1.1", "1.7", "1.5"), 3, ts.JPEGBaseline8Bit, bytes(32), table, {}, pixel={"rows": 64}
    )
    with pytest.raises(MalformedRequest):
        list(known_frames(entry))
    one, two = known_frames(replace(entry, pixel=None))
    assert (one.form, one.pix) == (FrameForm(sha256(b"1"), 5, ts.JPEGBaseline8Bit, None), None)
    assert (two.frame_index, two.pix, two.version) == (1, sha256(b"p"), 3)
