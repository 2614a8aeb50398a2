"""Strategies and makers of manifest entries, shared by the tests of manifest and delta."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from nearframe.ids import Identity
from nearframe.wire.frametable import FrameTable
from nearframe.wire.manifest import BulkPiece, InstanceEntry

STUDY = "1.2.840.1.9"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"

_TAGS = ("00080005", "00080020", "00100010", "00181030", "00200032", "00281050", "00091001", "52009230")
_scalars = st.integers(-5, 5) | st.floats(-4, 4) | st.text(alphabet="aé^\\", max_size=3) | st.none()
_names = st.dictionaries(st.sampled_from(["Alphabetic", "Ideographic"]), st.text(max_size=3), max_size=2)
attributes = st.recursive(
    st.fixed_dictionaries({"vr": st.sampled_from(["DS", "UI"])}, optional={"Value": st.lists(_scalars, max_size=3)})
    | st.fixed_dictionaries({"vr": st.just("PN"), "Value": st.lists(_names, max_size=2)})
    | st.fixed_dictionaries({"vr": st.just("OW"), "BulkDataURI": st.just("bulkdata/7FE00010")})
    | st.fixed_dictionaries({"vr": st.just("OB"), "InlineBinary": st.just("AAEC")}),
    lambda inner: st.fixed_dictionaries(
        {"vr": st.just("SQ"), "Value": st.lists(st.dictionaries(st.sampled_from(_TAGS), inner, max_size=2), max_size=2)}
    ),
    max_leaves=4,
)  # fmt: skip
digests = st.binary(min_size=32, max_size=32)
frame_tables = st.lists(
    st.tuples(digests, st.none() | digests, st.sampled_from([512, 700, 2**40])), max_size=3
).map(FrameTable.of)  # fmt: skip
bulk_pieces = st.builds(BulkPiece, st.sampled_from([2, 3]), st.integers(0, 2**32 - 1), digests, st.integers(0, 2**40))


@st.composite
def instance_entries(draw: st.DrawFn, sop_instance_uid: str) -> InstanceEntry:
    series = draw(st.sampled_from(["1.2.1", "1.2.2", ""]))
    metadata: dict[str, Any] = draw(st.dictionaries(st.sampled_from(_TAGS), attributes, max_size=5))
    if draw(st.booleans()):
        metadata["00080016"] = {"vr": "UI", "Value": [CT_IMAGE]}
        metadata["00080018"] = {"vr": "UI", "Value": [sop_instance_uid + draw(st.sampled_from(["", "\0", " "]))]}
    frames = draw(frame_tables)
    plain = draw(st.booleans())
    return InstanceEntry(
        identity=Identity(CT_IMAGE, sop_instance_uid, series, STUDY),
        version=draw(st.integers(1, 3)),
        transfer_syntax_uid=draw(st.sampled_from([EXPLICIT_LE, "1.2.840.10008.1.2.4.90"])),
        hdr=draw(digests),
        frames=frames,
        metadata=dict(sorted(metadata.items())),
        pixel=draw(st.none() | st.sampled_from([{"rows": 2}, {"rows": 3}])),
        bulk=() if plain else tuple(draw(st.lists(bulk_pieces, max_size=2))),
        pieces=tuple(range(len(frames))) if plain else tuple(draw(st.lists(st.integers(-3, 3), max_size=3))),
        notes=() if plain else tuple(draw(st.lists(st.sampled_from(["wrong_vr", "no_meta_header"]), max_size=2))),
    )


@st.composite
def studies(draw: st.DrawFn) -> list[InstanceEntry]:
    """The instances of one study, up to six, each SOP Instance UID once."""
    uids = draw(st.lists(st.sampled_from([f"1.2.3.{n}" for n in range(8)]), max_size=6, unique=True))
    return [draw(instance_entries(uid)) for uid in uids]


def ordered(entries: list[InstanceEntry]) -> list[InstanceEntry]:
    return sorted(entries, key=lambda entry: (entry.identity.series_instance_uid, entry.identity.sop_instance_uid))


def ct_series(count: int = 1000, *, seed: int = 7, with_pix: bool = False) -> list[InstanceEntry]:
    """A CT series of `count` slices with 90 attributes, seven of which vary, as real ones do."""
    rng = random.Random(seed)
    shared: dict[str, Any] = {
        f"0018{n:04X}": {"vr": "LO", "Value": [f"acquisition setting {n}"]} for n in range(0x1000, 0x1050)
    }
    shared["00080016"] = {"vr": "UI", "Value": [CT_IMAGE]}
    shared["00100010"] = {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    shared["00100020"] = {"vr": "LO", "Value": ["PID-1"]}
    return [_ct_slice(rng, shared, number, with_pix=with_pix) for number in range(1, count + 1)]


def _ct_slice(rng: random.Random, shared: dict[str, Any], number: int, *, with_pix: bool) -> InstanceEntry:
    uid = f"1.2.840.113619.2.55.3.{rng.randrange(10**9)}.{number}"
    z = round(-300 + number * 0.625, 4)
    metadata = shared | {
        "00080018": {"vr": "UI", "Value": [uid]},
        "00080033": {"vr": "TM", "Value": [f"1012{number // 60 % 60:02d}.{number:03d}"]},
        "00200013": {"vr": "IS", "Value": [number]},
        "00200032": {"vr": "DS", "Value": [-125.0, -125.0, z]},
        "00201041": {"vr": "DS", "Value": [z]},
        "00280107": {"vr": "US", "Value": [rng.randrange(1000, 3000)]},
    }
    pix = rng.randbytes(32) if with_pix else None
    return InstanceEntry(
        identity=Identity(CT_IMAGE, uid, "1.2.840.1.9.1", STUDY),
        version=1,
        transfer_syntax_uid=EXPLICIT_LE,
        hdr=rng.randbytes(32),
        frames=FrameTable.of([(rng.randbytes(32), pix, 524288)]),
        metadata=dict(sorted(metadata.items())),
        pixel={"rows": 512, "columns": 512, "bits_allocated": 16, "bits_stored": 12},
        pieces=(0,),
    )
