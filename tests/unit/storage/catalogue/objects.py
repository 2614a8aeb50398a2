"""Makers of versions, shared by the tests of the catalogue and of searches."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from nearframe.dicom.attributes import attributes_of
from nearframe.dicom.model import DICOMJSON, PixelDescription
from nearframe.ids import Digest, Identity, sha256
from nearframe.storage.ports import BulkEntry, NewVersion, StudyRef
from nearframe.wire.frametable import FrameTable

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
RECEIVED = datetime(2026, 11, 22, 8, 30, 0, 250_000, tzinfo=UTC)
PIXEL = PixelDescription(512, 512, 1, 16, 12, 11, 0, "MONOCHROME2")

_VRS = {
    "00080005": "CS",
    "00080020": "DA",
    "00080030": "TM",
    "00080050": "SH",
    "00080060": "CS",
    "00080090": "PN",
    "00081030": "LO",
    "0008103E": "LO",
    "00100010": "PN",
    "00100020": "LO",
    "00100021": "LO",
    "00100030": "DA",
    "00100040": "CS",
    "00200010": "SH",
    "00200011": "IS",
    "00200013": "IS",
}


def study_ref(number: int = 1, tenant: str = "main") -> StudyRef:
    return StudyRef(tenant, f"1.2.{number}")


def identity(study: int = 1, series: int = 1, instance: int = 1, sop_class_uid: str = CT_IMAGE) -> Identity:
    return Identity(sop_class_uid, f"1.2.{study}.{series}.{instance}", f"1.2.{study}.{series}", f"1.2.{study}")


def frame_table(*frames: str, pix: tuple[str | None, ...] | None = None) -> FrameTable:
    """Return a table of frames by the text their bytes stand for; `pix` likewise for their samples."""
    samples = frames if pix is None else pix
    return FrameTable.of(
        [
            (sha256(enc.encode()), None if sample is None else sha256(b"pix" + sample.encode()), len(enc))
            for enc, sample in zip(frames, samples, strict=True)
        ]
    )


def bulk(kind: Any, tag: int, value: str) -> BulkEntry:
    return BulkEntry(kind, tag, sha256(value.encode()), len(value))


def element(tag: str, *values: Any, vr: str | None = None) -> DICOMJSON:
    vr = vr or _VRS.get(tag, "LO")
    if vr == "PN":
        values = tuple(value if isinstance(value, dict) else {"Alphabetic": value} for value in values)
    return {tag: {"vr": vr, "Value": list(values)}}


def version(
    uids: Identity | None = None,
    *,
    frames: FrameTable | None = None,
    bulk: tuple[BulkEntry, ...] = (),
    tenant: str = "main",
    header: str = "",
    file: Digest | None = None,
    **changes: Any,
) -> NewVersion:
    """Return a version; `header` makes its header, and so its file, another; `changes` are ``t00100010="Doe"``."""
    uids = uids or identity()
    metadata: DICOMJSON = {}
    for tag, value in {"00080060": "CT", "00100010": "Doe^Jane", "00100020": "P1", "00200011": 1}.items():
        metadata |= element(tag, value)
    metadata |= element("00080016", uids.sop_class_uid, vr="UI") | element("00080018", uids.sop_instance_uid, vr="UI")
    metadata |= element("0020000D", uids.study_instance_uid, vr="UI")
    metadata |= element("0020000E", uids.series_instance_uid, vr="UI")
    metadata |= element("00200013", int(uids.sop_instance_uid.rpartition(".")[2]))
    for name, value in changes.items():
        tag = name[1:].upper()
        metadata |= value if isinstance(value, dict) and "vr" in next(iter(value.values()), {}) else element(tag, value)
    frames = frame_table("frame") if frames is None else frames
    hdr = sha256(repr((header, sorted(metadata.items()))).encode())
    return NewVersion(
        tenant=tenant,
        identity=uids,
        transfer_syntax_uid=EXPLICIT_LE,
        hdr=hdr,
        header_bytes=1200,
        file=file or sha256(hdr + frames.enc + b"".join(entry.digest for entry in bulk)),
        file_bytes=1200 + sum(frames.lengths),
        frames=frames,
        bulk=bulk,
        pieces=tuple(range(len(frames))) + tuple(-1 - k for k in range(len(bulk))),
        pixel=PIXEL if len(frames) else None,
        metadata=dict(sorted(metadata.items())),
        attributes=attributes_of(metadata),
        source="STOW",
        received_at=RECEIVED,
        notes=("wrong_vr",),
    )
