"""Deltas with their headers: made from two manifests, applied to one, verified by the root.

A header that changed is sent as an edit of the old one where that gives back the exact
bytes, once for all instances it fits: a corrected patient name is the same edit on a
thousand slices. Any other header is sent whole, compressed against old headers of the
study. Whoever applies a delta hashes every header it makes; the root proves them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.errors import LimitExceeded, MalformedRequest, NotFound, RequestError
from nearframe.ids import Digest, sha256
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, ContentStore, StudyRef
from nearframe.wire.canonical import JSON, canonical_json
from nearframe.wire.delta import (
    MAX_BLOB_BYTES,
    MAX_DICTIONARY_BYTES,
    Delta,
    HeaderBlobs,
    Runs,
    compare,
    encode_delta,
    indices_of,
    pack_blobs,
    patched,
    proved,
    runs_of,
    unpack_blobs,
)
from nearframe.wire.manifest import Manifest

#: Reads an encoded header blob of the study; raises as `ContentStore.read` does.
ReadHeader = Callable[[Digest], bytes]
#: Takes a header blob and its digest.
KeepHeader = Callable[[Digest, bytes], None]


class HeaderEdits(Protocol):
    """Changes of encoded header blobs, as JSON."""

    def diff(self, old: bytes, new: bytes) -> JSON | None:
        """Return an edit that turns `old` into `new`, or None where there is no short one."""
        ...

    def apply(self, old: bytes, edit: JSON) -> bytes:
        """Return `old` after the edit; raises `RequestError` if it cannot be read or does not fit."""
        ...


# -- serving -----------------------------------------------------------------------------------


class Deltas:
    """The deltas a node answers with. For one event loop.

    Parameters
    ----------
    cache_bytes
        Memory for deltas made: after a correction every edge asks for the same one.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        store: ContentStore,
        manifests: Manifests,
        codec: HeaderEdits,
        workers: Workers,
        cache_bytes: int,
    ) -> None:
        self._catalogue = catalogue
        self._store = store
        self._manifests = manifests
        self._codec = codec
        self._workers = workers
        self._made: SizedLRU[tuple[StudyRef, Digest, Digest], bytes] = SizedLRU(cache_bytes)
        self._makes: SingleFlight[tuple[StudyRef, Digest, Digest], bytes] = SingleFlight("delta")

    async def since(self, study: StudyRef, root: Digest) -> bytes | None:
        """Return the encoded delta from `root` to the study as it is now, or None if that is its root.

        Raises
        ------
        NotFound
            If there is no such study, or no delta from this root: take the whole manifest.
        """
        # The cheap question first: most edges that ask hold the current state.
        if await self.is_current(study, root):
            return None
        old = (await self._manifests.with_root(study, root)).manifest
        new = (await self._manifests.current(study)).manifest
        return None if new.root == root else await self.between(study, old, new)

    async def is_current(self, study: StudyRef, root: Digest) -> bool:
        """Return whether the study has this root now, by two look-ups; raises `NotFound` if there is no such study."""
        return await self._workers.run(self._is_current, study, root)

    async def between(self, study: StudyRef, old: Manifest, new: Manifest) -> bytes:
        """Return the encoded delta between two states of the study; raises `NotFound` if it would not pay."""
        key = study, old.root, new.root
        held = self._made.get(key)
        if held is None:
            held = await self._makes.run(key, lambda: self._workers.run(self._make, study, old, new))
            self._made.put(key, held, len(held))
        return held

    def _is_current(self, study: StudyRef, root: Digest) -> bool:
        return self._catalogue.state(study) == self._catalogue.seq_of_root(study, root)

    def _make(self, study: StudyRef, old: Manifest, new: Manifest) -> bytes:
        try:
            return encode_delta(make_delta(old, new, lambda hdr: self._store.read(study, hdr), self._codec))
        except LimitExceeded as error:
            raise NotFound("delta worth sending") from error


# -- making ------------------------------------------------------------------------------------


def make_delta(old: Manifest, new: Manifest, read_header: ReadHeader, codec: HeaderEdits) -> Delta:
    """Return the delta from one manifest of a study to another.

    Raises
    ------
    LimitExceeded
        If so many headers are new that the whole manifest serves better.
    """
    before = {entry.place: entry.hdr for entry in old.entries}
    edits = _EditGroups(codec)
    whole: dict[int, bytes] = {}
    whole_bytes = 0
    for index, entry in enumerate(new.entries):
        old_hdr = before.get(entry.place)
        if old_hdr == entry.hdr:
            continue
        header = read_header(entry.hdr)
        if old_hdr is not None and edits.take(index, read_header(old_hdr), header):
            continue
        whole[index] = header
        whole_bytes += len(header)
        if whole_bytes > MAX_BLOB_BYTES:
            raise LimitExceeded("bytes of headers in a delta", MAX_BLOB_BYTES)
    delta = replace(compare(old, new), edits=edits.groups())
    if not whole:
        return delta
    base, dictionary = _dictionary(old, {new.entries[index].place for index in whole}, read_header)
    return replace(delta, blobs=HeaderBlobs(runs_of(whole), base, pack_blobs(list(whole.values()), dictionary)))


class _EditGroups:
    """The edits found so far, each with the instances it fits."""

    def __init__(self, codec: HeaderEdits) -> None:
        self._codec = codec
        self._edits: dict[bytes, JSON] = {}
        self._fits: dict[bytes, list[int]] = {}
        self._latest: JSON | None = None

    def take(self, index: int, old: bytes, new: bytes) -> bool:
        """Find an edit from `old` to exactly `new`, the latest one first: neighbours are edited alike."""
        if self._latest is None or not self._leads_to(old, self._latest, new):
            found = self._codec.diff(old, new)
            if found is None or not self._leads_to(old, found, new):
                return False
            self._latest = found
        key = canonical_json(self._latest)
        self._edits.setdefault(key, self._latest)
        self._fits.setdefault(key, []).append(index)
        return True

    def groups(self) -> tuple[tuple[JSON, Runs], ...]:
        return tuple((edit, runs_of(self._fits[key])) for key, edit in self._edits.items())

    def _leads_to(self, old: bytes, edit: JSON, new: bytes) -> bool:
        try:
            return self._codec.apply(old, edit) == new
        except RequestError:
            return False


def _dictionary(old: Manifest, places: set[tuple[str, str]], read_header: ReadHeader) -> tuple[Runs, bytes]:
    """Return old headers worth having as dictionary: the same instances', else those of the same series."""
    own = [index for index, entry in enumerate(old.entries) if entry.place in places]
    series = {series_instance_uid for series_instance_uid, _ in places}
    siblings = [index for index, entry in enumerate(old.entries) if entry.place[0] in series]
    chosen: list[int] = []
    size = 0
    for index in own or siblings or range(len(old.entries)):
        header = read_header(old.entries[index].hdr)
        size += len(header)
        if size > MAX_DICTIONARY_BYTES:
            break
        chosen.append(index)
    runs = runs_of(chosen)
    return runs, _joined(old, runs, read_header)


def _joined(old: Manifest, runs: Runs, read_header: ReadHeader) -> bytes:
    """Return the headers of the old manifest that `runs` names, one after the other."""
    out = bytearray()
    for index in indices_of(runs, len(old.entries)):
        out += read_header(old.entries[index].hdr)
        if len(out) > MAX_DICTIONARY_BYTES:
            raise MalformedRequest("a delta's dictionary is too long")
    return bytes(out)


# -- applying ----------------------------------------------------------------------------------


def apply_delta(old: Manifest, delta: Delta, read_header: ReadHeader, codec: HeaderEdits, keep: KeepHeader) -> Manifest:
    """Return the manifest a delta leads to, and hand every header it makes to `keep`.

    Headers are handed over before the root has proved them: nothing may refer to them
    before this returns.

    Raises
    ------
    IntegrityError
        If the delta was made for another manifest or does not lead to its root.
    RequestError
        If it cannot be followed.
    """
    manifest = patched(old, delta)
    hdrs = [entry.hdr for entry in manifest.entries]
    for index, header in _new_headers(old, manifest, delta, read_header, codec):
        hdrs[index] = sha256(header)
        keep(hdrs[index], header)
    return proved(manifest, delta, hdrs)


def _new_headers(
    old: Manifest, manifest: Manifest, delta: Delta, read_header: ReadHeader, codec: HeaderEdits
) -> Iterator[tuple[int, bytes]]:
    """Yield the index and header of each instance of the new manifest whose header the delta tells."""
    count = len(manifest.entries)
    known = {entry.place for entry in old.entries}
    for edit, runs in delta.edits:
        for index in indices_of(runs, count):
            entry = manifest.entries[index]
            if entry.place not in known:
                raise MalformedRequest("a delta edits a header that is not there")
            yield index, codec.apply(read_header(entry.hdr), edit)
    if delta.blobs is not None:
        dictionary = _joined(old, delta.blobs.base, read_header)
        yield from _paired(list(indices_of(delta.blobs.at, count)), unpack_blobs(delta.blobs.data, dictionary))


def _paired(indices: Sequence[int], headers: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    try:
        yield from zip(indices, headers, strict=True)
    except ValueError as error:
        raise MalformedRequest("a delta has another number of headers than it says") from error
