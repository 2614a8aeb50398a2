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

from collections.abc import Container
from contextlib import suppress
from enum import Enum
from functools import partial

from nearframe import log
from nearframe.cache.keyedlock import KeyedLock
from nearframe.edge.replica import (
    Replica,
    commit,
    follow,
    held_root,
    in_view,
    keep_all,
    last_shown,
    let_go,
    remove,
    root_of,
)
from nearframe.edge.upstream import Upstream
from nearframe.errors import IntegrityError, NotFound, RequestError, UpstreamError
from nearframe.ids import sha256
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, EDGE_PULLS
from nearframe.query.manifests import StudyState
from nearframe.storage.ports import Settled, StudyRef
from nearframe.wire.delta import runs_of
from nearframe.wire.manifest import Manifest
from nearframe.wire.manifestjson import decode_manifest

_ATTEMPTS = 3  # the study may change between its manifest and its headers

_log = log.logger(__name__)


class Pulled(Enum):
    """How a pull went."""

    UNCHANGED = "unchanged"
    DELTA = "delta"
    MANIFEST = "manifest"
    REMOVED = "removed"
    KEPT = "kept"


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
        self._pulling: KeyedLock[StudyRef] = KeyedLock()

    async def pull(self, study: StudyRef, upstream: Upstream, *, keeps: bool = False) -> Pulled:
        """Bring a study to an upstream's current state.

        Parameters
        ----------
        keeps
            The upstream was restored from a backup: what it no longer has is not taken out of view here
            but forwarded to it, as far as all of it is held.

        Raises
        ------
        NotFound
            If the upstream has no such study.
        UpstreamError
            If it cannot be asked, or what it says does not add up.
        StorageError
            If this edge cannot keep it.
        """
        async with self._pulling.alone(study):
            run = self._replica.workers.run
            settled = await run(self._replica.handover.settled, study, upstream.url)
            try:
                pulled = await self._by_delta(study, upstream, settled, keeps=keeps)
                pulled = pulled or await self._by_manifest(study, upstream, settled, keeps=keeps)
            except NotFound:
                if keeps and await run(keep_all, self._replica, study):
                    pulled = Pulled.KEPT
                elif settled:
                    pulled = await self._withdraw(study, settled)
                else:
                    raise
            if settled:
                await run(self._replica.handover.handed_over, study, settled)
            self._replica.metrics.add(EDGE_PULLS, how=pulled.value)
            return pulled

    async def doubt(self, upstream: Upstream) -> None:
        """Believe no more that an upstream has what it once recorded: it was restored from a backup."""
        await self._replica.workers.run(self._replica.handover.doubt, upstream.url)

    async def keep_unknown(self, tenant: str, named: Container[str], upstream: Upstream) -> list[StudyRef]:
        """Have what is held of studies forwarded that an upstream lost; return those of which anything is.

        Parameters
        ----------
        named
            Studies that its feed named since it began anew.
        """
        kept = []
        for study in await self._replica.workers.run(in_view, self._replica.catalogue, tenant):
            if study.study_instance_uid in named:
                continue
            with suppress(NotFound):
                await self.pull(study, upstream, keeps=True)
                kept.append(study)
        return kept

    async def remove(self, study: StudyRef, upstream: Upstream) -> Pulled:
        """Remove a study from view, as an upstream did.

        A lower-ranked one takes nothing back.
        """
        if upstream.rank:
            return Pulled.UNCHANGED  # it may not have heard that the study is back
        if await self._replica.workers.run(self._replica.catalogue.holds_local, study):
            # What was said may be older than what was forwarded: ask how it stands now.
            with suppress(NotFound):
                return await self.pull(study, upstream)
        async with self._pulling.alone(study):
            await self._replica.workers.run(remove, self._replica, study)
            self._replica.metrics.add(EDGE_PULLS, how=Pulled.REMOVED.value)
            return Pulled.REMOVED

    async def let_go(self, study: StudyRef) -> bool:
        """Let go of what is kept of a study that is out of view; False if it is to be tried again."""
        async with self._pulling.alone(study):  # what is pulled refers to it before it is in view
            return await self._replica.workers.run(let_go, self._replica, study)

    async def _withdraw(self, study: StudyRef, settled: Settled) -> Pulled:
        """Show a study without what the upstream had recorded and no longer has."""
        nothing = Manifest(study.study_instance_uid, {}, ())
        old = await self._held_manifest(study)
        await self._replica.workers.run(commit, self._replica, study, old, nothing, settled, self._replica.store.mark())
        return Pulled.REMOVED

    async def _by_delta(self, study: StudyRef, upstream: Upstream, settled: Settled, *, keeps: bool) -> Pulled | None:
        """Follow a delta from what is held; None if there is none to follow."""
        if not self._deltas:
            return None
        run = self._replica.workers.run
        mixed = await run(last_shown, self._replica.catalogue, study)
        root = await run(held_root, self._replica.catalogue, study) if mixed is None else root_of(mixed)
        if root is None:
            return None
        try:
            delta = await upstream.delta(study, root)
            if delta is None and not settled:
                return Pulled.UNCHANGED
            old = mixed or (await self._replica.manifests.current(study)).manifest
            state = await run(partial(follow, keeps=keeps), self._replica, study, old, delta, settled)
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

    async def _by_manifest(self, study: StudyRef, upstream: Upstream, settled: Settled, *, keeps: bool) -> Pulled:
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
            self._remember(
                study, await run(partial(commit, keeps=keeps), self._replica, study, old, new, settled, mark)
            )
            return Pulled.MANIFEST
        raise UpstreamError("the study changed each time its headers were asked for")

    async def _is_behind(self, study: StudyRef, new: Manifest) -> bool:
        mixed = await self._replica.workers.run(last_shown, self._replica.catalogue, study)
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
                index = next(expected, None)
                if index is None:
                    raise UpstreamError("the upstream sent more headers than were asked for")
                hdr = manifest.entries[index].hdr
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
