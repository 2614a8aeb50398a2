"""What is made of stored instances in the background, on real packs and a real catalogue."""

from __future__ import annotations

import io
from contextlib import closing
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.native import Samples
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.metrics import BACKGROUND_INSTANCES
from nearframe.origin.background import Background, Consumer
from nearframe.origin.perceptual_hashes import PerceptualHashes
from nearframe.origin.pixel_digests import PixelDigests
from nearframe.origin.renditions import Renditions
from nearframe.perceptual.phash import HASH_BYTES
from nearframe.storage.ports import InstanceRecord
from tests.integration.origin.conftest import Node
from tests.integration.origin.test_ingest import compressed, edited, packaged, repainted, uid_of

TIMEOUT_S = 60


def current(node: Node, data: bytes, tenant: str = "main") -> InstanceRecord:
    return node.catalogue.find_instance(tenant, uid_of(data))


def undecodable(data: bytes) -> bytes:
    """Return a file whose only frame is not what its transfer syntax says."""
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.PixelData = encapsulate([b"no code stream"])
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def run_until_idle(node: Node, *consumers: Consumer[Any]) -> None:
    """Run consumers over everything in the outbox."""
    background = Background(node.catalogue, node.contents, consumers, node.metrics)
    with closing(background):
        assert background.drain(TIMEOUT_S)
    assert node.metrics.value(BACKGROUND_INSTANCES, result="failed") == 0


def samples(record: InstanceRecord, encoded: bytes, transfer_syntax_uid: str) -> Samples:
    assert record.pixel is not None
    return decode_frame(encoded, transfer_syntax_uid, record.pixel)


@pytest.mark.parametrize("transfer_syntax", [RLELossless, JPEG2000Lossless])
async def test_pix_of_compressed_frames(node: Node, transfer_syntax: pydicom.uid.UID) -> None:
    native = packaged("MR_small.dcm")
    await node.store(compressed(native, transfer_syntax), tenant="a")
    await node.store(native, tenant="b")
    assert not current(node, native, "a").frames.has_every_pix
    run_until_idle(node, PixelDigests(node.catalogue))
    assert current(node, native, "a").frames.pix == current(node, native, "b").frames.pix


async def test_lossy_and_undecodable_frames_have_no_pix(node: Node) -> None:
    lossy = packaged("examples_ybr_color.dcm")
    await node.store(lossy)
    run_until_idle(node, PixelDigests(node.catalogue))
    assert not current(node, lossy).frames.has_every_pix


async def test_renditions_are_the_same_picture(node: Node) -> None:
    data = packaged("CT_small.dcm")
    await node.store(data)
    run_until_idle(node, Renditions(node.catalogue, node.contents))
    record = current(node, data)
    enc = record.frames.enc_of(0)
    rendition = node.catalogue.rendition("main", enc, HTJ2KLosslessRPCL)
    assert rendition is not None
    assert rendition.length < record.frames.lengths[0]
    assert 0 < rendition.resolution_offsets[0] < rendition.length / 10
    made = samples(record, node.contents.read(record.study, rendition.digest), HTJ2KLosslessRPCL)
    assert np.array_equal(made, samples(record, node.contents.read(record.study, enc), record.transfer_syntax_uid))


async def test_a_rendition_is_made_once_and_read_by_every_study(node: Node) -> None:
    data = packaged("CT_small.dcm")
    copy = edited(data, SOPInstanceUID="1.2.3.4", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4")
    await node.store(data, copy)
    contents = node.contents.stats().contents
    run_until_idle(node, Renditions(node.catalogue, node.contents))
    assert node.contents.stats().contents == contents + 1
    rendition = node.catalogue.rendition("main", current(node, data).frames.enc_of(0), HTJ2KLosslessRPCL)
    assert rendition is not None
    for one in (data, copy):
        assert node.contents.size_of(current(node, one).study, rendition.digest) == rendition.length


async def test_hashes_of_every_frame(node: Node) -> None:
    seen, blind = packaged("examples_ybr_color.dcm"), undecodable(packaged("MR_small.dcm"))
    await node.store(seen, blind)
    run_until_idle(node, PerceptualHashes(node.catalogue, node.contents))
    record = current(node, seen)
    rows = node.catalogue.hashes(record.study)
    assert [row.enc for row in rows] == [enc for enc, _ in record.frames]
    assert all(len(row.hash) == HASH_BYTES and row.quality for row in rows)
    (row,) = node.catalogue.hashes(current(node, blind).study)
    assert (row.hash, row.quality) == (b"", 0)
    assert row.enc == current(node, blind).frames.enc_of(0), "listed for its digests"


async def test_hashes_know_the_pix_found_in_between(node: Node) -> None:
    data = compressed(packaged("MR_small.dcm"), RLELossless)
    await node.store(data)
    run_until_idle(node, PixelDigests(node.catalogue), PerceptualHashes(node.catalogue, node.contents))
    (row,) = node.catalogue.hashes(current(node, data).study)
    assert row.pix == current(node, data).frames.pix_of(0)


async def test_a_conflict_resolved_before_anybody_looked(node: Node) -> None:
    data = packaged("CT_small.dcm")
    await node.store(data)
    await node.store(repainted(data))
    (conflict,) = node.catalogue.conflicts("main")
    node.catalogue.resolve_conflict(conflict.id, "incoming", "local_admin")
    run_until_idle(node, PixelDigests(node.catalogue), PerceptualHashes(node.catalogue, node.contents))
    assert [row.version for row in node.catalogue.hashes(conflict.study)] == [2]


async def test_nothing_to_do_for_objects_without_pictures(node: Node) -> None:
    await node.store(packaged("rtplan.dcm"))
    run_until_idle(
        node,
        PixelDigests(node.catalogue),
        Renditions(node.catalogue, node.contents),
        PerceptualHashes(node.catalogue, node.contents),
    )
    assert node.metrics.value(BACKGROUND_INSTANCES) == 0
