"""The manifest of a study: its metadata by column, its frame tables, its header digests, one root.

What all instances of the study share stands once (`common`), then what all of a series
share, then one column per attribute that differs (`vary`). A thousand CT slices take about
a hundred kilobytes, nearly all of it digests. The exact form, and how the Merkle root is
computed, is in ``docs/reference/manifest.md``.

The root covers everything but two columns: `pix`, which is found by decoding, maybe
later, and so must not change what a study *is*; and nothing else that nodes may learn at
different times is in the manifest at all. Perceptual hashes never are.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import zstandard

from nearframe.errors import IntegrityError, LimitExceeded, MalformedRequest
from nearframe.ids import DIGEST_BYTES, Digest, Identity, normalise_uid
from nearframe.units import MIB
from nearframe.wire.canonical import JSON, JSONObject, canonical_json
from nearframe.wire.columns import pack_attributes, pack_column, shared_attributes, unpack_attributes, unpack_column
from nearframe.wire.frametable import FrameTable
from nearframe.wire.merkle import leaf, leaves, merkle_root, subtree

VERSION = 1
MEDIA_TYPE = "application/vnd.nearframe.manifest+json"
# 100 000 frames with 100 KB of metadata each series are about 20 MB of JSON.
MAX_MANIFEST_BYTES = 256 * MIB
_ZSTD_LEVEL = 15  # 1000 CT slices: 84 KB in 30 ms; level 9 gives 90 KB in 8 ms, level 19 84 KB in 75 ms


class BulkPiece(NamedTuple):
    """A piece of a file that is not a frame: kind and tag as stored, digest, bytes."""

    kind: int
    tag: int
    digest: Digest
    length: int


@dataclass(frozen=True, slots=True)
class InstanceEntry:
    """What a manifest says of one instance.

    Attributes
    ----------
    version
        Number of the current version.
    pieces
        For each piece of the file, in order: index into the frames, or ``-1 - k`` for bulk
        piece `k`.
    metadata
        DICOM JSON; values are shared between entries and must not be changed.
    """

    identity: Identity
    version: int
    transfer_syntax_uid: str
    hdr: Digest
    frames: FrameTable
    metadata: JSONObject
    bulk: tuple[BulkPiece, ...] = ()
    pieces: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeriesTable:
    """The instances of a series, ordered by SOP Instance UID, by column.

    Attributes
    ----------
    layout
        The members of the JSON form that are neither attributes nor digests of frames and
        headers: ``version``, ``tsuid``, ``len``, and where needed ``ids``, ``bulk``,
        ``pieces``, ``notes``.
    hdr, enc, pix
        One item per instance: the header's digest, and the digests of its frames joined.
    """

    series_instance_uid: str
    common: JSONObject
    vary: JSONObject
    layout: JSONObject
    hdr: tuple[Digest, ...]
    enc: tuple[bytes, ...]
    pix: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.hdr)

    @property
    def root(self) -> Digest:
        """The Merkle root of the series."""
        counts = [len(enc) // DIGEST_BYTES for enc in self.enc]
        frames = (enc[at : at + DIGEST_BYTES] for enc in self.enc for at in range(0, len(enc), DIGEST_BYTES))
        return merkle_root(
            [
                leaf("series", canonical_json(self.series_instance_uid)),
                leaf("common", canonical_json(self.common)),
                leaf("vary", canonical_json(self.vary)),
                leaf("layout", canonical_json({**self.layout, "n": counts})),
                subtree("hdrs", leaves("hdr", self.hdr)),
                subtree("encs", leaves("enc", frames)),
            ]
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """A study at one moment. Equal roots mean equal studies."""

    study_instance_uid: str
    common: JSONObject
    series: tuple[SeriesTable, ...]
    root: Digest = field(init=False)

    def __post_init__(self) -> None:
        head = [
            leaf("study", canonical_json({"v": VERSION, "study": self.study_instance_uid})),
            leaf("common", canonical_json(self.common)),
        ]
        object.__setattr__(self, "root", merkle_root(head + leaves("root", (table.root for table in self.series))))

    @classmethod
    def of(cls, study_instance_uid: str, entries: Iterable[InstanceEntry]) -> Manifest:
        """Build the manifest of a study from its instances, in any order."""
        ordered = sorted(entries, key=_place)
        tables = [series_table(uid, list(rows)) for uid, rows in groupby(ordered, key=lambda row: _place(row)[0])]
        return cls.join(study_instance_uid, tables)

    @classmethod
    def join(cls, study_instance_uid: str, tables: Sequence[SeriesTable]) -> Manifest:
        """Build the manifest of a study from its series, moving up what they share."""
        common = shared_attributes([table.common for table in tables])
        return cls(
            study_instance_uid,
            common,
            tuple(
                replace(table, common={tag: value for tag, value in table.common.items() if tag not in common})
                for table in sorted(tables, key=lambda table: table.series_instance_uid)
            ),
        )

    def entries(self) -> list[InstanceEntry]:
        """Return what it says of each instance: the inverse of `of`."""
        return [entry for table in self.series for entry in _entries(self, table)]

    @property
    def instance_count(self) -> int:
        return sum(map(len, self.series))

    def body(self) -> JSONObject:
        """Return the part of the JSON form that patches are written against: all but root, `hdr` and `pix`."""
        return {
            "v": VERSION,
            "study": self.study_instance_uid,
            "common": self.common,
            "series": [
                {
                    "uid": table.series_instance_uid,
                    "common": table.common,
                    "vary": table.vary,
                    **table.layout,
                    "enc": [_to_text(enc) for enc in table.enc],
                }
                for table in self.series
            ],
        }

    def to_json(self) -> JSONObject:
        """Return the JSON form."""
        document = {"root": self.root.hex(), **self.body()}
        for member, table in zip(document["series"], self.series, strict=True):
            member["hdr"] = _to_text(b"".join(table.hdr))
            pix = b"".join(table.pix)
            if pix.count(0) != len(pix):
                member["pix"] = _to_text(pix)
        return document

    @classmethod
    def from_body(cls, body: JSON, digests: Sequence[tuple[Sequence[Digest], Sequence[bytes]]]) -> Manifest:
        """Build a manifest from its patched part and the `hdr` and `pix` columns of each series."""
        try:
            return _read_body(body, digests)
        except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
            raise MalformedRequest(f"the manifest cannot be read: {type(error).__name__}") from error

    @classmethod
    def from_json(cls, document: JSON) -> Manifest:
        """Read the JSON form.

        Raises
        ------
        MalformedRequest
            If it is not a manifest of this version.
        IntegrityError
            If what it says does not add up to its root.
        """
        try:
            columns = [_read_digests(member) for member in document["series"]]
            claimed = bytes.fromhex(document["root"])
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise MalformedRequest(f"the manifest cannot be read: {type(error).__name__}") from error
        manifest = cls.from_body(document, columns)
        if manifest.root != claimed:
            raise IntegrityError("a manifest does not add up to its root")
        return manifest

    def encode(self) -> bytes:
        """Return the JSON form as UTF-8, compressed with zstd."""
        return compress(dump_json(self.to_json()))

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read what `encode` wrote; raises as `from_json` and `decompress` do."""
        return cls.from_json(load_json(decompress(data)))


def series_table(series_instance_uid: str, entries: Sequence[InstanceEntry]) -> SeriesTable:
    """Build the columns of one series; every attribute all instances share is in `common`."""
    ordered = sorted(entries, key=_place)
    metadata = [entry.metadata for entry in ordered]
    common = shared_attributes(metadata)
    layout: JSONObject = {
        "version": pack_column([entry.version for entry in ordered]),
        "tsuid": pack_column([entry.transfer_syntax_uid for entry in ordered]),
        "len": pack_column([_pack_lengths(entry.frames.lengths) for entry in ordered]),
    }
    if any(_implied_ids(entry.metadata) != _ids(entry.identity) for entry in ordered):
        layout["ids"] = [_ids(entry.identity) for entry in ordered]
    if any(entry.bulk for entry in ordered):
        layout["bulk"] = [
            [[kind, tag, _to_text(digest), length] for kind, tag, digest, length in entry.bulk] for entry in ordered
        ]
    if any(entry.pieces != _plain_pieces(len(entry.frames)) for entry in ordered):
        layout["pieces"] = [list(entry.pieces) for entry in ordered]
    if any(entry.notes for entry in ordered):
        layout["notes"] = [list(entry.notes) for entry in ordered]
    return SeriesTable(
        series_instance_uid=series_instance_uid,
        common=common,
        vary=pack_attributes(metadata, common),
        layout=layout,
        hdr=tuple(entry.hdr for entry in ordered),
        enc=tuple(entry.frames.enc for entry in ordered),
        pix=tuple(entry.frames.pix for entry in ordered),
    )


# -- bytes -------------------------------------------------------------------------------------


def dump_json(document: JSON) -> bytes:
    """Return compact UTF-8."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def load_json(data: bytes) -> JSON:
    """Read JSON of a peer; raises `MalformedRequest`."""
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("the peer's JSON cannot be read") from error


def compress(data: bytes) -> bytes:
    """Return one zstd frame."""
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=False).compress(data)


def decompress(data: bytes, limit: int = MAX_MANIFEST_BYTES) -> bytes:
    """Read one zstd frame of at most `limit` bytes.

    Raises
    ------
    LimitExceeded
        If it says it is larger.
    MalformedRequest
        If it is not a whole zstd frame that says its size.
    """
    try:
        size = zstandard.frame_content_size(data)
        if size < 0:
            raise MalformedRequest("a compressed document does not say its size")
        if size > limit:
            raise LimitExceeded("decompressed document bytes", limit, size)
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise MalformedRequest("not a zstd frame") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


# -- columns -----------------------------------------------------------------------------------


def _place(entry: InstanceEntry) -> tuple[str, str]:
    return entry.identity.series_instance_uid, entry.identity.sop_instance_uid


def _ids(identity: Identity) -> list[str]:
    return [identity.sop_class_uid, identity.sop_instance_uid]


def _implied_ids(metadata: JSONObject) -> list[str]:
    """Return the SOP class and instance UIDs as the metadata says them."""
    return [_uid(metadata, "00080016"), _uid(metadata, "00080018")]


def _uid(metadata: JSONObject, tag: str) -> str:
    values = metadata.get(tag, {}).get("Value") or [""]
    return normalise_uid(values[0]) if isinstance(values[0], str) else ""


def _plain_pieces(frame_count: int) -> tuple[int, ...]:
    return tuple(range(frame_count))


def _pack_lengths(lengths: tuple[int, ...]) -> int | list[int]:
    if not lengths:
        return 0
    return lengths[0] if lengths.count(lengths[0]) == len(lengths) else list(lengths)


def _unpack_lengths(packed: int | list[int], count: int) -> tuple[int, ...]:
    lengths = (packed,) * count if isinstance(packed, int) else tuple(packed)
    if len(lengths) != count or any(type(length) is not int or length < 0 for length in lengths):
        raise ValueError("lengths do not fit the frames")
    return lengths


def _to_text(digests: bytes) -> str:
    return base64.b64encode(digests).decode("ascii")


def _to_digests(text: str) -> bytes:
    digests = base64.b64decode(text, validate=True)
    if len(digests) % DIGEST_BYTES:
        raise ValueError("a digest is cut")
    return digests


def _entries(manifest: Manifest, table: SeriesTable) -> Iterable[InstanceEntry]:
    count, layout = len(table), table.layout
    shared = {**manifest.common, **table.common}
    versions = unpack_column(layout["version"], count)
    syntaxes = unpack_column(layout["tsuid"], count)
    lengths = unpack_column(layout["len"], count)
    for i, attributes in enumerate(unpack_attributes(table.vary, count)):
        frame_count = len(table.enc[i]) // DIGEST_BYTES
        metadata = dict(sorted({**shared, **attributes}.items()))
        sop_class_uid, sop_instance_uid = layout["ids"][i] if "ids" in layout else _implied_ids(metadata)
        yield InstanceEntry(
            identity=Identity(sop_class_uid, sop_instance_uid, table.series_instance_uid, manifest.study_instance_uid),
            version=versions[i],
            transfer_syntax_uid=syntaxes[i],
            hdr=table.hdr[i],
            frames=FrameTable(table.enc[i], table.pix[i], _unpack_lengths(lengths[i], frame_count)),
            metadata=metadata,
            bulk=tuple(
                BulkPiece(kind, tag, _to_digests(digest), length)
                for kind, tag, digest, length in (layout["bulk"][i] if "bulk" in layout else ())
            ),
            pieces=tuple(layout["pieces"][i]) if "pieces" in layout else _plain_pieces(frame_count),
            notes=tuple(layout["notes"][i]) if "notes" in layout else (),
        )


# -- reading -----------------------------------------------------------------------------------

_LAYOUT = ("version", "tsuid", "len", "ids", "bulk", "pieces", "notes")


def _read_digests(member: JSONObject) -> tuple[list[Digest], list[bytes]]:
    """Return the `hdr` and `pix` columns of a series in the JSON form."""
    hdr = _to_digests(member["hdr"])
    sizes = [len(_to_digests(text)) for text in member["enc"]]
    pix = _to_digests(member["pix"]) if "pix" in member else bytes(sum(sizes))
    if len(pix) != sum(sizes):
        raise ValueError("pix does not fit enc")
    stops = list(accumulate(sizes))
    return (
        [hdr[at : at + DIGEST_BYTES] for at in range(0, len(hdr), DIGEST_BYTES)],
        [pix[stop - size : stop] for size, stop in zip(sizes, stops, strict=True)],
    )


def _read_body(body: JSON, digests: Sequence[tuple[Sequence[Digest], Sequence[bytes]]]) -> Manifest:
    if body["v"] != VERSION:
        raise MalformedRequest("the manifest has another version")
    if len(body["series"]) != len(digests):
        raise ValueError("series do not fit their digests")
    tables = tuple(_read_series(member, *columns) for member, columns in zip(body["series"], digests, strict=True))
    manifest = Manifest(_string(body["study"]), _object(body["common"]), tables)
    manifest.entries()  # reads every column: what does not fit together shows here
    return manifest


def _read_series(member: JSONObject, hdr: Sequence[Digest], pix: Sequence[bytes]) -> SeriesTable:
    enc = tuple(_to_digests(text) for text in member["enc"])
    if not len(hdr) == len(enc) == len(pix) or any(map(_unequal_length, enc, pix)):
        raise ValueError("the columns of a series differ in length")
    layout = {name: member[name] for name in _LAYOUT if name in member}
    for name in ("ids", "bulk", "pieces", "notes"):
        if len(layout.get(name, enc)) != len(enc):
            raise ValueError("the columns of a series differ in length")
    return SeriesTable(
        series_instance_uid=_string(member["uid"]),
        common=_object(member["common"]),
        vary=_object(member["vary"]),
        layout=layout,
        hdr=tuple(hdr),
        enc=enc,
        pix=tuple(pix),
    )


def _unequal_length(left: bytes, right: bytes) -> bool:
    return len(left) != len(right)


def _string(value: JSON) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _object(value: JSON) -> JSONObject:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value
