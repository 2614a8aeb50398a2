"""Bringing one study to where its upstream has it, without moving a pixel that is held.

::

    1. root of what is held         304: done, nothing moved
    2. delta from that root         headers edited, hashed, appended; the root proves them
    3. else manifest + headers      only headers that are not held; each matches its digest
    4. frames the tenant holds      referenced, not fetched: others come when somebody reads them
    5. contents durable             then one transaction flips the current view

A crash before 5 leaves contents nobody refers to; the same pull later does it all again.

What was taken in here and is not settled with the upstream is *local*. It stays in view
whatever is pulled (`storage.ports.Catalogue.replicate`), so the root to ask with is not that of what is
shown but that of what the upstream showed when it was last followed (`Catalogue.replica`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum

from nearframe import log
from nearframe.clock import Clock
from nearframe.dicom.attributes import attributes_of
from nearframe.edge.handover import Handover, NothingTakenIn
from nearframe.edge.upstream import Upstream
from nearframe.errors import Busy, IntegrityError, NotFound, RequestError, UpstreamError
from nearframe.ids import Digest, sha256
from nearframe.intake.inuse import StudiesInUse
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, EDGE_PULLS, Metrics
from nearframe.query.deltas import HeaderEdits, apply_delta
from nearframe.query.manifests import Manifests, StudyState, bulk_entries, manifest_of, pixel_description
from nearframe.query.workers import Workers
from nearframe.storage.ports import (
    UPSTREAM,
    Catalogue,
    ContentKind,
    ContentStore,
    InstanceRecord,
    NewVersion,
    Settled,
    StudyRef,
)
from nearframe.wire.delta import decode_delta, runs_of
from nearframe.wire.header import HeaderBlob, file_digest
from nearframe.wire.manifest import InstanceEntry, Manifest, split_digests
from nearframe.wire.manifestjson import decode_manifest

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
    """What this edge keeps, and the means to change it.

    Attributes
    ----------
    in_use
        Studies of which something is being taken in.
    """

    catalogue: Catalogue
    store: ContentStore
    manifests: Manifests
    codec: HeaderEdits
    workers: Workers
    metrics: Metrics
    clock: Clock
    handover: Handover = field(default_factory=NothingTakenIn)
    in_use: StudiesInUse = field(default_factory=StudiesInUse)

    def keep_header(self, study: StudyRef, hdr: Digest, header: bytes) -> None:
        """Append a header whose digest was checked."""
        self.store.append(study, ContentKind.HEADER, hdr, len(header), [header])


class StudyPuller:
    """Pulls studies; different studies at the same time, each once at a time.

    Parameters
    ----------
    deltas
        False to ask for the whole manifest whenever a study changed.
    """

    def __init__(self, replica: Replica, *, deltas: bool = True) -> None:
        self._replica = replica
        self._deltas = deltas
        self._locks: dict[StudyRef, asyncio.Lock] = {}

    async def pull(self, study: StudyRef, upstream: Upstream) -> Pulled:
        """Bring a study to an upstream's current state.

        Raises
        ------
        NotFound
            If the upstream has no such study.
        UpstreamError
            If it cannot be asked, or what it says does not add up.
        StorageError
            If this edge cannot keep it.
        """
        async with self._alone(study):
            run = self._replica.workers.run
            settled = await run(self._replica.handover.settled, study, upstream.url)
            try:
                pulled = await self._by_delta(study, upstream, settled)
                pulled = pulled or await self._by_manifest(study, upstream, settled)
            except NotFound:
                if not settled:
                    raise
                pulled = await self._withdraw(study, settled)
            if settled:
                await run(self._replica.handover.handed_over, study, settled)
            self._replica.metrics.add(EDGE_PULLS, how=pulled.value)
            return pulled

    async def remove(self, study: StudyRef, upstream: Upstream) -> Pulled:
        """Remove a study from view and let its contents go, as an upstream did."""
        if await self._replica.workers.run(self._replica.catalogue.holds_local, study):
            # What was said may be older than what was forwarded: ask how it stands now.
            with suppress(NotFound):
                return await self.pull(study, upstream)
        async with self._alone(study):
            await self._replica.workers.run(_remove, self._replica, study)
            self._replica.metrics.add(EDGE_PULLS, how=Pulled.REMOVED.value)
            return Pulled.REMOVED

    @asynccontextmanager
    async def _alone(self, study: StudyRef) -> AsyncIterator[None]:
        lock = self._locks.setdefault(study, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._locks.pop(study, None)

    async def _withdraw(self, study: StudyRef, settled: Settled) -> Pulled:
        """Show a study without what the upstream had recorded and no longer has."""
        nothing = Manifest(study.study_instance_uid, {}, ())
        old = await self._held_manifest(study)
        await self._replica.workers.run(
            _commit, self._replica, study, old, nothing, settled, self._replica.store.mark()
        )
        return Pulled.REMOVED

    async def _by_delta(self, study: StudyRef, upstream: Upstream, settled: Settled) -> Pulled | None:
        """Follow a delta from what is held; None if there is none to follow."""
        if not self._deltas:
            return None
        run = self._replica.workers.run
        mixed = await run(_last_shown, self._replica.catalogue, study)
        root = await run(_held_root, self._replica.catalogue, study) if mixed is None else _root_of(mixed)
        if root is None:
            return None
        try:
            delta = await upstream.delta(study, root)
            if delta is None and not settled:
                return Pulled.UNCHANGED
            old = mixed or (await self._replica.manifests.current(study)).manifest
            state = await run(_follow, self._replica, study, old, delta, settled)
        except NotFound:
            return None
        except (IntegrityError, RequestError) as error:
            # Whatever is wrong with it, the whole manifest does not depend on it.
            self._replica.metrics.add(EDGE_INTEGRITY_FAILURES, what="delta")
            _log.warning("delta_refused", error=error)
            return None
        self._remember(study, state)
        return Pulled.DELTA

    def _remember(self, study: StudyRef, state: StudyState | None) -> None:
        if state is not None:
            self._replica.manifests.remember(study, state)

    async def _by_manifest(self, study: StudyRef, upstream: Upstream, settled: Settled) -> Pulled:
        run = self._replica.workers.run
        for _ in range(_ATTEMPTS):
            encoded = await upstream.manifest(study)
            mark = self._replica.store.mark()
            new = await run(decode_manifest, encoded)
            if new.study_instance_uid != study.study_instance_uid:
                raise UpstreamError("the upstream sent the manifest of another study")
            if upstream.rank and not settled and await self._is_behind(study, new):
                return Pulled.UNCHANGED
            try:
                await self._fetch_headers(study, upstream, new)
            except NotFound:
                continue
            old = await self._held_manifest(study)
            self._remember(study, await run(_commit, self._replica, study, old, new, settled, mark))
            return Pulled.MANIFEST
        raise UpstreamError("the study changed each time its headers were asked for")

    async def _is_behind(self, study: StudyRef, new: Manifest) -> bool:
        mixed = await self._replica.workers.run(_last_shown, self._replica.catalogue, study)
        return is_behind(new, mixed or await self._held_manifest(study))

    async def _held_manifest(self, study: StudyRef) -> Manifest:
        try:
            return (await self._replica.manifests.current(study)).manifest
        except NotFound:
            return Manifest(study.study_instance_uid, {}, ())

    async def _fetch_headers(self, study: StudyRef, upstream: Upstream, manifest: Manifest) -> None:
        """Fetch and keep the headers that are not held; each must match its digest."""
        run = self._replica.workers.run
        missing = set(await run(self._replica.store.adopt, study, [entry.hdr for entry in manifest.entries]))
        wanted = [index for index, entry in enumerate(manifest.entries) if entry.hdr in missing]
        if not wanted:
            return
        expected = iter(wanted)
        async with upstream.headers(study, manifest.root, runs_of(wanted)) as blobs:
            async for blob in blobs:
                hdr = manifest.entries[next(expected)].hdr
                if sha256(blob) != hdr:
                    self._replica.metrics.add(EDGE_INTEGRITY_FAILURES, what="header")
                    raise IntegrityError("a header from the upstream does not match its digest")
                await run(self._replica.keep_header, study, hdr, blob)
        if next(expected, None) is not None:
            raise UpstreamError("the upstream's stream of headers was cut")


def is_behind(theirs: Manifest, held: Manifest) -> bool:
    """Return whether a study that is held in another state shows nothing in theirs that would be newer.

    A lower-ranked upstream may not have heard yet of what a better one showed before it was away. The
    numbers of versions are the archive's and only grow.
    """
    versions = {entry.identity.sop_instance_uid: entry.version for entry in held.entries}
    return all(entry.version <= versions.get(entry.identity.sop_instance_uid, -1) for entry in theirs.entries)


def _held_root(catalogue: Catalogue, study: StudyRef) -> Digest | None:
    """Return the root of what is held, or None if nothing is, or a crash left it unsaid."""
    try:
        return catalogue.root_at(study, catalogue.state(study))
    except NotFound:
        return None


def _last_shown(catalogue: Catalogue, study: StudyRef) -> Manifest | None:
    """Return what the upstream showed when it was last followed; None if that is what is in view here."""
    instances = catalogue.replica(study)
    return None if instances is None else manifest_of(study, instances)


def _root_of(manifest: Manifest) -> Digest | None:
    return manifest.root if manifest.entries else None


def _follow(
    replica: Replica, study: StudyRef, old: Manifest, encoded: bytes | None, settled: Settled
) -> StudyState | None:
    """Apply a delta, if there is one, and take over what it leads to."""
    mark = replica.store.mark()
    if encoded is None:
        return _commit(replica, study, old, old, settled, mark)
    made: list[Digest] = []

    def keep(hdr: Digest, header: bytes) -> None:
        made.append(hdr)
        replica.keep_header(study, hdr, header)

    try:
        new = apply_delta(old, decode_delta(encoded), lambda hdr: replica.store.read(study, hdr), replica.codec, keep)
    except (IntegrityError, RequestError):
        _let_go(replica, study, [hdr for hdr in made if hdr not in {entry.hdr for entry in old.entries}])
        raise
    return _commit(replica, study, old, new, settled, mark)


def _commit(
    replica: Replica, study: StudyRef, old: Manifest, new: Manifest, settled: Settled, mark: int
) -> StudyState | None:
    """Make everything durable, then show it: the last step is one transaction.

    Returns the study's state, None where it is not the upstream's since something local is in it.
    """
    pieces = [digest for entry in new.entries for digest in _pieces(entry)]
    replica.store.adopt(study, pieces)
    replica.store.sync(mark)
    decided = {uid for uid, _ in settled}
    before = {entry.place: _without_pix(entry) for entry in old.entries}
    changed = [
        entry
        for entry in new.entries
        if entry.identity.sop_instance_uid in decided or before.get(entry.place) != _without_pix(entry)
    ]
    kept = {entry.identity.sop_instance_uid for entry in new.entries}
    gone = {entry.identity.sop_instance_uid for entry in old.entries} | decided
    replica.catalogue.replicate(
        [(_version(replica, study, entry), entry.version, True) for entry in changed],
        [(study, uid) for uid in sorted(gone - kept)],
        {study.tenant: settled},
    )
    if not new.entries:
        return None
    seq = replica.catalogue.state(study)
    # Asked after the sequence: what is taken in later is not in the state of then.
    if replica.catalogue.holds_local(study):
        return None
    replica.catalogue.save_root(study, seq, new.root)
    return StudyState(seq, new)


def _remove(replica: Replica, study: StudyRef) -> None:
    records = replica.catalogue.list_instances(study)
    versions = [
        version
        for record in records
        for version in replica.catalogue.list_versions(study.tenant, record.identity.sop_instance_uid)
        if version.study == study
    ]
    replica.catalogue.replicate([], [(study, record.identity.sop_instance_uid) for record in records])
    _let_go(replica, study, [digest for version in versions for digest in _contents_of(version)])


def _let_go(replica: Replica, study: StudyRef, digests: list[Digest]) -> None:
    """Release contents that nothing refers to any more, unless something local might."""
    with suppress(Busy), replica.in_use.alone(study):
        if not replica.catalogue.holds_local(study):
            replica.store.release(study, digests)


def _contents_of(record: InstanceRecord) -> Iterator[Digest]:
    yield record.hdr
    yield from (enc for enc, _ in record.frames)
    yield from (bulk.digest for bulk in record.bulk)


def _version(replica: Replica, study: StudyRef, entry: InstanceEntry) -> NewVersion:
    """Return an instance as the catalogue takes it."""
    header = replica.store.read(study, entry.hdr)
    return NewVersion(
        tenant=study.tenant,
        identity=entry.identity,
        transfer_syntax_uid=entry.transfer_syntax_uid,
        hdr=entry.hdr,
        header_bytes=len(header),
        file=file_digest(entry.hdr, _in_file_order(entry)),
        file_bytes=HeaderBlob.decode(header).file_bytes,
        frames=entry.frames,
        bulk=bulk_entries(entry),
        pieces=entry.pieces,
        pixel=pixel_description(entry),
        metadata=entry.metadata,
        attributes=attributes_of(entry.metadata),
        source=UPSTREAM,
        received_at=replica.clock.now(),
        notes=entry.notes,
    )


def _in_file_order(entry: InstanceEntry) -> Iterator[Digest]:
    for place in entry.pieces:
        yield entry.frames.enc_of(place) if place >= 0 else entry.bulk[-1 - place].digest


def _pieces(entry: InstanceEntry) -> Iterator[Digest]:
    yield from split_digests(entry.frames.enc)
    yield from (bulk.digest for bulk in entry.bulk)


def _without_pix(entry: InstanceEntry) -> InstanceEntry:
    return replace(entry, frames=replace(entry.frames, pix=b""))
