"""Bringing one study to where its upstream has it, without moving a pixel that is held.

::

    1. root of what is held         304: done, nothing moved
    2. delta from that root         headers edited, hashed, appended; the root proves them
    3. else manifest + headers      only headers that are not held; each matches its digest
    4. frames the tenant holds      referenced, not fetched: others come when somebody reads them
    5. contents durable             then one transaction flips the current view

A crash before 5 leaves contents nobody refers to; the same pull later does it all again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from nearframe import log
from nearframe.clock import Clock
from nearframe.dicom.attributes import attributes_of
from nearframe.edge.upstream import Upstream
from nearframe.errors import IntegrityError, NotFound, RequestError, UpstreamError
from nearframe.ids import Digest, sha256, sha256_of
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, EDGE_PULLS, Metrics
from nearframe.query.deltas import HeaderEdits, apply_delta
from nearframe.query.manifests import Manifests, StudyState, bulk_entries, pixel_description
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, ContentKind, ContentStore, NewVersion, StudyRef
from nearframe.wire.delta import decode_delta, runs_of
from nearframe.wire.document import dump_json
from nearframe.wire.header import HeaderBlob
from nearframe.wire.manifest import InstanceEntry, Manifest, split_digests
from nearframe.wire.manifestjson import decode_manifest

SOURCE = "upstream"
_ATTEMPTS = 3  # the study may change between its manifest and its headers

_log = log.logger(__name__)


class Pulled(Enum):
    """How a pull went."""

    UNCHANGED = "unchanged"
    DELTA = "delta"
    MANIFEST = "manifest"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Replica:
    """What this edge keeps, and the means to change it."""

    catalogue: Catalogue
    store: ContentStore
    manifests: Manifests
    codec: HeaderEdits
    workers: Workers
    metrics: Metrics
    clock: Clock

    def keep_header(self, study: StudyRef, hdr: Digest, header: bytes) -> None:
        """Append a header whose digest was checked."""
        self.store.append(study, ContentKind.HEADER, hdr, len(header), [header])


class StudyPuller:
    """Pulls studies, one call each; different studies at the same time."""

    def __init__(self, replica: Replica, upstream: Upstream) -> None:
        self._replica = replica
        self._upstream = upstream

    async def pull(self, study: StudyRef) -> Pulled:
        """Bring a study to its upstream's current state.

        Raises
        ------
        NotFound
            If the upstream has no such study.
        UpstreamError
            If it cannot be asked, or what it says does not add up.
        StorageError
            If this edge cannot keep it.
        """
        pulled = await self._by_delta(study) or await self._by_manifest(study)
        self._replica.metrics.add(EDGE_PULLS, how=pulled.value)
        return pulled

    async def remove(self, study: StudyRef) -> Pulled:
        """Remove a study from view and let its contents go, as its upstream did."""
        await self._replica.workers.run(_remove, self._replica, study)
        self._replica.metrics.add(EDGE_PULLS, how=Pulled.REMOVED.value)
        return Pulled.REMOVED

    async def _by_delta(self, study: StudyRef) -> Pulled | None:
        """Follow a delta from what is held; None if there is none to follow."""
        run = self._replica.workers.run
        root = await run(_held_root, self._replica.catalogue, study)
        if root is None:
            return None
        try:
            delta = await self._upstream.delta(study, root)
            if delta is None:
                return Pulled.UNCHANGED
            old = (await self._replica.manifests.current(study)).manifest
            state = await run(_follow, self._replica, study, old, delta)
        except NotFound:
            return None
        except (IntegrityError, RequestError) as error:
            # Whatever is wrong with it, the whole manifest does not depend on it.
            self._replica.metrics.add(EDGE_INTEGRITY_FAILURES, what="delta")
            _log.warning("delta_refused", error=error)
            return None
        self._replica.manifests.remember(study, state)
        return Pulled.DELTA

    async def _by_manifest(self, study: StudyRef) -> Pulled:
        run = self._replica.workers.run
        for _ in range(_ATTEMPTS):
            encoded = await self._upstream.manifest(study)
            mark = self._replica.store.mark()
            new = await run(decode_manifest, encoded)
            if new.study_instance_uid != study.study_instance_uid:
                raise UpstreamError("the upstream sent the manifest of another study")
            try:
                await self._fetch_headers(study, new)
            except NotFound:
                continue
            old = await self._held_manifest(study)
            self._replica.manifests.remember(study, await run(_commit, self._replica, study, old, new, mark))
            return Pulled.MANIFEST
        raise UpstreamError("the study changed each time its headers were asked for")

    async def _held_manifest(self, study: StudyRef) -> Manifest:
        try:
            return (await self._replica.manifests.current(study)).manifest
        except NotFound:
            return Manifest(study.study_instance_uid, {}, ())

    async def _fetch_headers(self, study: StudyRef, manifest: Manifest) -> None:
        """Fetch and keep the headers that are not held; each must match its digest."""
        run = self._replica.workers.run
        missing = set(await run(self._replica.store.adopt, study, [entry.hdr for entry in manifest.entries]))
        wanted = [index for index, entry in enumerate(manifest.entries) if entry.hdr in missing]
        if not wanted:
            return
        expected = iter(wanted)
        async with self._upstream.headers(study, manifest.root, runs_of(wanted)) as blobs:
            async for blob in blobs:
                hdr = manifest.entries[next(expected)].hdr
                if sha256(blob) != hdr:
                    self._replica.metrics.add(EDGE_INTEGRITY_FAILURES, what="header")
                    raise IntegrityError("a header from the upstream does not match its digest")
                await run(self._replica.keep_header, study, hdr, blob)
        if next(expected, None) is not None:
            raise UpstreamError("the upstream's stream of headers was cut")


def _held_root(catalogue: Catalogue, study: StudyRef) -> Digest | None:
    """Return the root of what is held, or None if nothing is, or a crash left it unsaid."""
    try:
        return catalogue.root_at(study, catalogue.state(study))
    except NotFound:
        return None


def _follow(replica: Replica, study: StudyRef, old: Manifest, encoded: bytes) -> StudyState:
    """Apply a delta and take over what it leads to."""
    mark = replica.store.mark()
    made: list[Digest] = []

    def keep(hdr: Digest, header: bytes) -> None:
        made.append(hdr)
        replica.keep_header(study, hdr, header)

    try:
        new = apply_delta(old, decode_delta(encoded), lambda hdr: replica.store.read(study, hdr), replica.codec, keep)
    except (IntegrityError, RequestError):
        # Nothing refers to them: what a false delta made goes with the next compaction.
        held = {entry.hdr for entry in old.entries}
        replica.store.release(study, [hdr for hdr in made if hdr not in held])
        raise
    return _commit(replica, study, old, new, mark)


def _commit(replica: Replica, study: StudyRef, old: Manifest, new: Manifest, mark: int) -> StudyState:
    """Make everything durable, then show it: the last step is one transaction."""
    pieces = [digest for entry in new.entries for digest in _pieces(entry)]
    replica.store.adopt(study, pieces)
    replica.store.sync(mark)
    before = {entry.place: _without_pix(entry) for entry in old.entries}
    changed = [entry for entry in new.entries if before.get(entry.place) != _without_pix(entry)]
    kept = {entry.identity.sop_instance_uid for entry in new.entries}
    dropped = [entry.identity.sop_instance_uid for entry in old.entries]
    replica.catalogue.replicate(
        [(_version(replica, study, entry), entry.version, True) for entry in changed],
        [(study, uid) for uid in dropped if uid not in kept],
    )
    seq = replica.catalogue.state(study)
    replica.catalogue.save_root(study, seq, new.root)
    return StudyState(seq, new)


def _remove(replica: Replica, study: StudyRef) -> None:
    try:
        gone = replica.catalogue.delete(study, None, None)
    except NotFound:
        return
    for record in gone:
        frames = [enc for enc, _ in record.frames]
        replica.store.release(study, [record.hdr, *frames, *(bulk.digest for bulk in record.bulk)])


def _version(replica: Replica, study: StudyRef, entry: InstanceEntry) -> NewVersion:
    """Return an instance as the catalogue takes it."""
    header = replica.store.read(study, entry.hdr)
    metadata = dump_json(entry.metadata)
    return NewVersion(
        tenant=study.tenant,
        identity=entry.identity,
        transfer_syntax_uid=entry.transfer_syntax_uid,
        hdr=entry.hdr,
        header_bytes=len(header),
        # The file's own digest is not known here: that would take every frame. This one
        # changes whenever the file does, and says so to caches and to the catalogue.
        file=sha256_of([b"replica", entry.hdr, *_pieces(entry), metadata]),
        file_bytes=HeaderBlob.decode(header).file_bytes,
        frames=entry.frames,
        bulk=bulk_entries(entry),
        pieces=entry.pieces,
        pixel=pixel_description(entry),
        metadata=entry.metadata,
        attributes=attributes_of(entry.metadata),
        source=SOURCE,
        received_at=replica.clock.now(),
        notes=entry.notes,
    )


def _pieces(entry: InstanceEntry) -> Iterator[Digest]:
    yield from split_digests(entry.frames.enc)
    yield from (bulk.digest for bulk in entry.bulk)


def _without_pix(entry: InstanceEntry) -> InstanceEntry:
    return replace(entry, frames=replace(entry.frames, pix=b""))
