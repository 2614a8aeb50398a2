"""The delta between two manifests: what a holder of one needs to know to hold the other.

JSON form, compressed with zstd; members that would be empty are left out::

    {"v": 1,
     "from": "<root>", "to": "<root>",
     "drop":  [[start, stop], ...],          instances of the old manifest, counted in its order
     "add":   {...},                         body of a manifest of the instances that are new, with pix
     "patch": [{"op": "test", "path": "/root", "value": "<from>"}, ...],
     "edits": [[<edit>, [[start, stop], ...]], ...],
     "blobs": {"at": [[start, stop], ...], "base": [[start, stop], ...], "data": "<base64>"}}

A receiver takes its old manifest, takes out `drop`, puts in `add`, writes the body of that
manifest, applies `patch` (RFC 6902), and has the body of the new one. Then it finds the
header of every instance of the new manifest, counted in *its* order: by applying the edit
that names it to the old header; or from the blobs; or it is the old header. Blobs are one
zstd frame over a stream of headers (`headerstream`), in order, with the old headers that `base`
names, joined, as dictionary. The digests of the headers complete the manifest, whose root
must be `to`: so a thousand new header digests cost nothing on the line and are proved.

What an edit is, the sender and receiver of headers know (`dicom/headeredit`); here it is JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import zstandard

from nearframe.errors import IntegrityError, LimitExceeded, MalformedRequest
from nearframe.ids import DIGEST_BYTES, Digest, parse_digest
from nearframe.units import MIB
from nearframe.wire.canonical import JSON, JSONObject
from nearframe.wire.document import decode_document, encode_document
from nearframe.wire.headerstream import HeaderStreamReader, frame_header
from nearframe.wire.jsonpatch import apply_patch, diff
from nearframe.wire.manifest import InstanceEntry, Manifest
from nearframe.wire.manifestjson import add_pix, enc_columns, manifest_body, manifest_from_body, pix_columns

VERSION = 1
MEDIA_TYPE = "application/vnd.nearframe.delta+json"

#: Headers sent whole in one delta; more of them, and the full manifest is the better answer.
MAX_BLOB_BYTES = 32 * MIB
# Old headers used as dictionary: zstd looks back this far at every level.
MAX_DICTIONARY_BYTES = MIB
_BLOB_LEVEL = 12

_UNKNOWN = bytes(DIGEST_BYTES)

#: Ranges of indices, ``start`` included and ``stop`` not, ascending and apart.
Runs: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class HeaderBlobs:
    """Headers sent whole.

    Attributes
    ----------
    at
        The instances of the new manifest they belong to.
    base
        The instances of the old manifest whose headers are the dictionary.
    """

    at: Runs
    base: Runs
    data: bytes


@dataclass(frozen=True, slots=True)
class Delta:
    """From one root to another.

    Attributes
    ----------
    edits
        Each with the instances of the new manifest whose old header it changes into the new.
    """

    old_root: Digest
    new_root: Digest
    dropped: Runs
    added: JSONObject | None
    patch: Sequence[JSONObject]
    edits: tuple[tuple[JSON, Runs], ...] = ()
    blobs: HeaderBlobs | None = None


# -- indices -----------------------------------------------------------------------------------


def runs_of(indices: Iterable[int]) -> Runs:
    """Write ascending indices as ranges."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1][1] = index + 1
        else:
            runs.append([index, index + 1])
    return tuple((start, stop) for start, stop in runs)


def indices_of(runs: Runs, count: int) -> Iterator[int]:
    """Yield the indices in `runs`.

    Raises
    ------
    MalformedRequest
        If they are not ascending, or one is not below `count`.
    """
    seen = 0
    for start, stop in runs:
        if not seen <= start < stop <= count:
            raise MalformedRequest("a delta names instances that are not there")
        yield from range(start, stop)
        seen = stop


def read_runs(value: JSON) -> Runs:
    """Read ranges from JSON; raises TypeError or ValueError if it is anything else."""
    runs = tuple((start, stop) for start, stop in value)
    if any(type(index) is not int for run in runs for index in run):
        raise TypeError("an index is an integer")
    return runs


# -- manifests ---------------------------------------------------------------------------------


def compare(old: Manifest, new: Manifest) -> Delta:
    """Return the delta without its headers."""
    kept = {entry.place for entry in new.entries}
    held = {entry.place for entry in old.entries}
    added = [entry for entry in new.entries if entry.place not in held]
    dropped = runs_of(index for index, entry in enumerate(old.entries) if entry.place not in kept)
    between = _between(old, dropped, added)
    patch = [
        {"op": "test", "path": "/root", "value": old.root.hex()},
        *diff(_rooted(old.root, between), _rooted(new.root, new)),
    ]
    return Delta(old.root, new.root, dropped, _added_body(new.study_instance_uid, added), patch)


def patched(old: Manifest, delta: Delta) -> Manifest:
    """Return the new manifest with the headers of the old one, zeros where an instance is new.

    Pixel digests are taken over where neither the frames nor their description changed.

    Raises
    ------
    MalformedRequest
        If the delta does not fit the manifest.
    IntegrityError
        If it was made for another one.
    """
    if delta.old_root != old.root:
        raise IntegrityError("a delta was made for another manifest")
    added = _added_entries(old, delta.added)
    body = apply_patch(_rooted(old.root, _between(old, delta.dropped, added)), delta.patch)
    if not isinstance(body, dict) or body.get("root") != delta.new_root.hex():
        raise IntegrityError("a delta's patch leads to another root than the delta")
    unknown = [([_UNKNOWN] * len(encs), [bytes(len(enc)) for enc in encs]) for encs in enc_columns(body)]
    manifest = manifest_from_body(body, unknown)
    known = {entry.place: entry for entry in (*old.entries, *added)}
    befores = [known.get(entry.place) for entry in manifest.entries]
    hdrs = [_UNKNOWN if before is None else before.hdr for before in befores]
    return _with_columns(manifest, hdrs, list(map(_pix_as_before, manifest.entries, befores)))


def proved(manifest: Manifest, delta: Delta, hdrs: Sequence[Digest]) -> Manifest:
    """Return the patched manifest with these headers, in its order.

    Raises
    ------
    IntegrityError
        If it does not add up to the delta's root.
    """
    whole = _with_columns(manifest, hdrs, [entry.frames.pix for entry in manifest.entries])
    if whole.root != delta.new_root:
        raise IntegrityError("a delta does not lead to its root")
    return whole


def _between(old: Manifest, dropped: Runs, added: Iterable[InstanceEntry]) -> Manifest:
    """Return the manifest that the patch starts from."""
    gone = set(indices_of(dropped, len(old.entries)))
    kept = [entry for index, entry in enumerate(old.entries) if index not in gone]
    added = list(added)
    return Manifest.of(old.study_instance_uid, kept + added) if gone or added else old


def _rooted(root: Digest, manifest: Manifest) -> JSONObject:
    return {"root": root.hex(), **manifest_body(manifest)}


def _added_body(study_instance_uid: str, entries: Sequence[InstanceEntry]) -> JSONObject | None:
    if not entries:
        return None
    manifest = Manifest.of(study_instance_uid, entries)
    body = manifest_body(manifest)
    add_pix(body, manifest)
    return body


def _added_entries(old: Manifest, body: JSONObject | None) -> tuple[InstanceEntry, ...]:
    if body is None:
        return ()
    added = manifest_from_body(body, [([_UNKNOWN] * len(pix), pix) for pix in pix_columns(body)])
    if added.study_instance_uid != old.study_instance_uid:
        raise MalformedRequest("a delta adds instances of another study")
    return added.entries


def _pix_as_before(entry: InstanceEntry, before: InstanceEntry | None) -> bytes:
    if before is None or (before.frames.enc, before.pixel) != (entry.frames.enc, entry.pixel):
        return entry.frames.pix
    return before.frames.pix


def _with_columns(manifest: Manifest, hdrs: Sequence[Digest], pix: Sequence[bytes]) -> Manifest:
    tables, start = [], 0
    for table in manifest.series:
        stop = start + len(table)
        tables.append(replace(table, hdr=tuple(hdrs[start:stop]), pix=tuple(pix[start:stop])))
        start = stop
    return replace(manifest, series=tuple(tables))


# -- headers -----------------------------------------------------------------------------------


def pack_blobs(blobs: Sequence[bytes], dictionary: bytes) -> bytes:
    """Return headers as one zstd frame over a stream of headers."""
    plain = b"".join(map(frame_header, blobs))
    return zstandard.ZstdCompressor(level=_BLOB_LEVEL, dict_data=_raw_dictionary(dictionary)).compress(plain)


def unpack_blobs(data: bytes, dictionary: bytes) -> Iterator[bytes]:
    """Yield the headers that `pack_blobs` was given.

    Raises
    ------
    MalformedRequest
        If they cannot be read.
    LimitExceeded
        If they are more than `MAX_BLOB_BYTES`.
    """
    reader = HeaderStreamReader(max_bytes=MAX_BLOB_BYTES)
    yield from reader.feed(_decompress(data, dictionary))
    reader.close()


def _decompress(data: bytes, dictionary: bytes) -> bytes:
    try:
        size = zstandard.frame_content_size(data)
        if size < 0:
            raise MalformedRequest("the headers of a delta do not say their size")
        if size > MAX_BLOB_BYTES:
            raise LimitExceeded("bytes of headers in a delta", MAX_BLOB_BYTES, size)
        decompressor = zstandard.ZstdDecompressor(dict_data=_raw_dictionary(dictionary))
        return decompressor.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise MalformedRequest("the headers of a delta cannot be read") from error


def _raw_dictionary(content: bytes) -> zstandard.ZstdCompressionDict | None:
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if content else None


# -- bytes -------------------------------------------------------------------------------------


def encode_delta(delta: Delta) -> bytes:
    """Return the JSON form, compressed."""
    document: JSONObject = {"v": VERSION, "from": delta.old_root.hex(), "to": delta.new_root.hex()}
    optional = {
        "drop": delta.dropped,
        "add": delta.added,
        "patch": list(delta.patch),
        "edits": delta.edits,
        "blobs": delta.blobs
        and {
            "at": delta.blobs.at,
            "base": delta.blobs.base,
            "data": base64.b64encode(delta.blobs.data).decode("ascii"),
        },
    }
    return encode_document(document | {name: value for name, value in optional.items() if value})


def decode_delta(data: bytes) -> Delta:
    """Read the JSON form.

    Raises
    ------
    MalformedRequest
        If it is not a delta of this version.
    """
    document = decode_document(data)
    try:
        if document["v"] != VERSION:
            raise MalformedRequest("the delta has another version")
        return _read_delta(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedRequest("the delta cannot be read") from error


def _read_delta(document: JSONObject) -> Delta:
    blobs = document.get("blobs")
    return Delta(
        old_root=parse_digest(document["from"]),
        new_root=parse_digest(document["to"]),
        dropped=read_runs(document.get("drop", [])),
        added=document.get("add"),
        patch=list(document.get("patch", [])),
        edits=tuple((edit, read_runs(runs)) for edit, runs in document.get("edits", [])),
        blobs=blobs
        and HeaderBlobs(
            at=read_runs(blobs["at"]),
            base=read_runs(blobs["base"]),
            data=base64.b64decode(blobs["data"], validate=True),
        ),
    )
