"""Manifests of studies, from the catalogue: built when somebody asks, remembered while they hold.

A stored instance costs nothing here. The first reader of a changed study pays for its
manifest (some 0.2 s for a thousand instances) and the root is noted in the catalogue, so
that a later delta can start from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.dicom.model import PixelDescription
from nearframe.errors import MalformedRequest, NotFound
from nearframe.ids import Digest
from nearframe.query.workers import Workers
from nearframe.storage.ports import BulkEntry, Catalogue, ContentKind, InstanceRecord, StudyRef
from nearframe.wire.manifest import BulkPiece, InstanceEntry, Manifest
from nearframe.wire.manifestjson import encode_manifest

# What an instance's row of a parsed manifest takes: ten attributes of its own, three digests, the objects.
_BYTES_PER_INSTANCE = 6000


@dataclass(frozen=True)
class StudyState:
    """A study's manifest, and the sequence at which this node's catalogue showed it."""

    seq: int
    manifest: Manifest


class Manifests:
    """The manifests of a node's studies. For one event loop.

    Parameters
    ----------
    cache_bytes
        Memory for manifests, parsed and encoded together.
    """

    def __init__(self, catalogue: Catalogue, workers: Workers, cache_bytes: int) -> None:
        self._catalogue = catalogue
        self._workers = workers
        self._states: SizedLRU[tuple[StudyRef, int], StudyState] = SizedLRU(cache_bytes * 3 // 4)
        self._encoded: SizedLRU[tuple[StudyRef, Digest], bytes] = SizedLRU(cache_bytes // 4)
        self._builds: SingleFlight[tuple[StudyRef, int], StudyState] = SingleFlight("manifest")

    async def current(self, study: StudyRef) -> StudyState:
        """Return the study's manifest as it is now.

        Raises
        ------
        NotFound
            If there is no such study.
        """
        seq = await self._workers.run(self._catalogue.state, study)
        return await self._at(study, seq)

    async def with_root(self, study: StudyRef, root: Digest) -> StudyState:
        """Return the manifest that had this root.

        Raises
        ------
        NotFound
            If the root is not one this node remembers and can still build.
        """
        seq = await self._workers.run(self._catalogue.seq_of_root, study, root)
        if seq is None:
            raise NotFound("state of the study with this root")
        state = await self._at(study, seq)
        if state.manifest.root != root:  # versions of that time were purged
            raise NotFound("state of the study with this root")
        return state

    async def encoded(self, study: StudyRef, state: StudyState) -> bytes:
        """Return a manifest in its compressed form."""
        key = study, state.manifest.root
        held = self._encoded.get(key)
        if held is None:
            held = await self._workers.run(encode_manifest, state.manifest)
            self._encoded.put(key, held, len(held))
        return held

    def remember(self, study: StudyRef, state: StudyState) -> None:
        """Keep a state that is known to be the study's now."""
        self._states.put((study, state.seq), state, _BYTES_PER_INSTANCE * (1 + len(state.manifest.entries)))

    async def _at(self, study: StudyRef, seq: int) -> StudyState:
        key = study, seq
        held = self._states.get(key)
        if held is not None:
            return held
        state = await self._builds.run(key, lambda: self._workers.run(self._build, study, seq))
        self.remember(study, state)
        return state

    def _build(self, study: StudyRef, seq: int) -> StudyState:
        state = StudyState(seq, build_manifest(self._catalogue, study, seq))
        self._catalogue.save_root(study, seq, state.manifest.root)
        return state


def build_manifest(catalogue: Catalogue, study: StudyRef, at_seq: int) -> Manifest:
    """Return the manifest of a study as it was at a sequence of the catalogue."""
    records = catalogue.list_instances(study, at_seq=at_seq)
    metadata = catalogue.metadata(study, at_seq=at_seq)
    return manifest_of(study, [(record, text) for record, (_, text) in zip(records, metadata, strict=True)])


def manifest_of(study: StudyRef, instances: Sequence[tuple[InstanceRecord, bytes]]) -> Manifest:
    """Return the manifest of a study that consists of these instances, each with its metadata."""
    return Manifest.of(study.study_instance_uid, [_entry(record, text) for record, text in instances])


def bulk_entries(entry: InstanceEntry) -> tuple[BulkEntry, ...]:
    """Return the bulk pieces of an instance as the catalogue keeps them; raises `MalformedRequest`."""
    try:
        return tuple(BulkEntry(ContentKind(kind), tag, digest, length) for kind, tag, digest, length in entry.bulk)
    except ValueError as error:
        raise MalformedRequest("a manifest names a kind of content that this release does not know") from error


def pixel_description(entry: InstanceEntry) -> PixelDescription | None:
    """Return how an instance's frames are samples; raises `MalformedRequest`."""
    try:
        return None if entry.pixel is None else PixelDescription(**entry.pixel)
    except TypeError as error:
        raise MalformedRequest("a manifest describes pixels as this release does not know") from error


def _entry(record: InstanceRecord, metadata: bytes) -> InstanceEntry:
    return InstanceEntry(
        identity=record.identity,
        version=record.version,
        transfer_syntax_uid=record.transfer_syntax_uid,
        hdr=record.hdr,
        frames=record.frames,
        metadata=json.loads(metadata),
        pixel=None if record.pixel is None else asdict(record.pixel),
        bulk=tuple(BulkPiece(int(bulk.kind), bulk.tag, bulk.digest, bulk.length) for bulk in record.bulk),
        pieces=record.pieces,
        notes=record.notes,
    )
