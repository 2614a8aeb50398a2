"""What this edge keeps of a study of its upstream, and how a new state takes the place of the old. Sync."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from nearframe.clock import Clock
from nearframe.dicom.attributes import attributes_of
from nearframe.edge.handover import Handover, NothingTakenIn
from nearframe.errors import Busy, IntegrityError, NotFound, RequestError
from nearframe.ids import Digest
from nearframe.intake.inuse import StudiesInUse
from nearframe.metrics import Metrics
from nearframe.query.deltas import HeaderEdits, apply_delta
from nearframe.query.manifests import Manifests, StudyState, bulk_entries, manifest_of, pixel_description
from nearframe.query.workers import Workers
from nearframe.storage.ports import (
    UPSTREAM,
    Catalogue,
    ContentKind,
    ContentStore,
    FeedCursor,
    InstanceRecord,
    Mark,
    NewVersion,
    Settled,
    StudyRef,
)
from nearframe.wire.delta import decode_delta
from nearframe.wire.header import HeaderBlob, file_digest
from nearframe.wire.manifest import InstanceEntry, Manifest, split_digests

_STUDIES_AT_ONCE: Final = 1000


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


def held_root(catalogue: Catalogue, study: StudyRef) -> Digest | None:
    """Return the root of what is held, or None if nothing is, or a crash left it unsaid."""
    try:
        return catalogue.root_at(study, catalogue.state(study))
    except NotFound:
        return None


def last_shown(catalogue: Catalogue, study: StudyRef) -> Manifest | None:
    """Return what the upstream showed when it was last followed; None if that is what is in view here."""
    instances = catalogue.replica(study)
    return None if instances is None else manifest_of(study, instances)


def root_of(manifest: Manifest) -> Digest | None:
    """Return the root to ask with; None for a study of which nothing is held."""
    return manifest.root if manifest.entries else None


def follow(
    replica: Replica, study: StudyRef, old: Manifest, encoded: bytes | None, settled: Settled, *, keeps: bool = False
) -> StudyState | None:
    """Apply a delta, if there is one, and take over what it leads to; see `commit`."""
    mark = replica.store.mark()
    if encoded is None:
        return commit(replica, study, old, old, settled, mark)
    made: list[Digest] = []

    def keep(hdr: Digest, header: bytes) -> None:
        made.append(hdr)
        replica.keep_header(study, hdr, header)

    try:
        new = apply_delta(old, decode_delta(encoded), lambda hdr: replica.store.read(study, hdr), replica.codec, keep)
    except (IntegrityError, RequestError):
        _let_go(replica, study, [hdr for hdr in made if hdr not in {entry.hdr for entry in old.entries}])
        raise
    return commit(replica, study, old, new, settled, mark, keeps=keeps)


def commit(
    replica: Replica,
    study: StudyRef,
    old: Manifest,
    new: Manifest,
    settled: Settled,
    mark: Mark,
    *,
    keeps: bool = False,
) -> StudyState | None:
    """Make everything durable, then show it: the last step is one transaction.

    Parameters
    ----------
    keeps
        The upstream was restored from a backup: what it no longer has and this edge holds is forwarded to it.

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
    shown = {entry.identity.sop_instance_uid for entry in new.entries}
    gone = {entry.identity.sop_instance_uid for entry in old.entries} - shown
    kept = _lost_upstream(replica, study, new) if keeps else {}
    replica.catalogue.replicate(
        [(_version(replica, study, entry), entry.version, True) for entry in changed],
        [(study, uid) for uid in sorted((gone | decided) - shown) if (study.tenant, uid) not in kept],
        {study.tenant: settled},
        kept,
    )
    if not new.entries:
        return None
    seq = replica.catalogue.state(study)
    # Asked after the sequence: what is taken in later is not in the state of then.
    if replica.catalogue.holds_local(study):
        return None
    replica.catalogue.save_root(study, seq, new.root)
    return StudyState(seq, new)


def in_view(catalogue: Catalogue, tenant: str) -> list[StudyRef]:
    """Return the studies of a tenant that are shown."""
    found: list[StudyRef] = []
    epoch, after = catalogue.head().epoch, None
    while page := catalogue.feed(after, _STUDIES_AT_ONCE):
        found += (StudyRef(tenant, one.study_instance_uid) for one in page if one.tenant == tenant and one.instances)
        after = FeedCursor(epoch, page[-1].seq)
    return found


def keep_all(replica: Replica, study: StudyRef) -> bool:
    """Have what is held of a study forwarded that a restored upstream does not know; return whether there is any.

    What is not held with all its contents stays in view as it was.
    """
    kept = _lost_upstream(replica, study, Manifest(study.study_instance_uid, {}, ()))
    if kept:
        replica.catalogue.replicate([], [], {}, kept)
    return bool(kept)


def _lost_upstream(replica: Replica, study: StudyRef, shown: Manifest) -> dict[tuple[str, str], set[Digest]]:
    """Return the files of versions that a restored upstream has no more, as far as every content is held.

    By tenant and SOP Instance UID. What a version shares with what the upstream shows need not be held here.
    """
    numbers = {entry.identity.sop_instance_uid: entry.version for entry in shown.entries}
    upstream = {digest for entry in shown.entries for digest in _pieces(entry)}
    lost: dict[tuple[str, str], set[Digest]] = {}
    for current in replica.catalogue.list_instances(study):
        uid = current.identity.sop_instance_uid
        if current.version <= numbers.get(uid, 0):
            continue
        for record in replica.catalogue.list_versions(study.tenant, uid):
            # Numbers only grow: what came before the one that is shown is there.
            is_lost = record.study == study and record.version > numbers.get(uid, 0)
            if is_lost and upstream.issuperset(replica.store.missing(study, list(_contents_of(record)))):
                lost.setdefault((study.tenant, uid), set()).add(record.file)
    return lost


def remove(replica: Replica, study: StudyRef) -> None:
    """Take a study out of view; what is kept of it stays until `let_go`."""
    records = replica.catalogue.list_instances(study)
    replica.catalogue.replicate([], [(study, record.identity.sop_instance_uid) for record in records])


def let_go(replica: Replica, study: StudyRef) -> bool:
    """Let go of all that is kept of a study, unless it is in view or something local is in it.

    Returns False if something of it is being taken in: then nothing is known yet.
    """
    try:
        with replica.in_use.alone(study):
            if not replica.catalogue.list_instances(study) and not replica.catalogue.holds_local(study):
                replica.store.shred(study)
    except Busy:
        return False
    return True


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
