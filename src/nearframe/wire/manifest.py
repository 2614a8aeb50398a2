"""The manifest of a study: its metadata by column, its frame tables, its header digests, one root.

What all instances of the study share stands once (`common`), then what all of a series
share, then one column per attribute that differs (`vary`). A thousand CT slices take about
a hundred kilobytes, nearly all of it digests. ``docs/reference/manifest.md`` says how the
Merkle root is computed; `manifestjson` reads and writes the JSON form.

The root covers everything but `pix`: that is found by decoding, maybe later, and must not
change what a study *is*. Perceptual hashes are never in a manifest.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

from nearframe.ids import DIGEST_BYTES, Digest, Identity, normalise_uid
from nearframe.wire.canonical import JSON, JSONObject, canonical_json
from nearframe.wire.columns import pack_attributes, pack_column, shared_attributes, unpack_attributes, unpack_column
from nearframe.wire.frametable import FrameTable
from nearframe.wire.merkle import leaf, leaves, merkle_root, subtree

VERSION = 1

#: No content has so many bytes and no instance so many versions: the sum of a study's fits a column of 63 bits.
LARGEST_NUMBER = 1 << 40

#: Members of a series that are neither attributes nor the digests of its headers and frames.
LAYOUT = ("version", "tsuid", "len", "pixel", "ids", "bulk", "pieces", "notes")
#: Those of them that are arrays always.
PER_INSTANCE = ("ids", "bulk", "pieces", "notes")


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
    pixel
        How the bytes of a frame are samples, as an object of the Image Pixel attributes; None
        where there is no picture. Said here since a deflated header does not show it.
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
    pixel: JSONObject | None = None
    bulk: tuple[BulkPiece, ...] = ()
    pieces: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str]:
        """Series and SOP Instance UID: what a manifest is ordered by."""
        return self.identity.series_instance_uid, self.identity.sop_instance_uid


@dataclass(frozen=True, slots=True)
class SeriesTable:
    """The instances of a series, ordered by SOP Instance UID, by column.

    Attributes
    ----------
    layout
        The members named by `LAYOUT`; all but the first three only where they say something.
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

    @classmethod
    def of(cls, series_instance_uid: str, entries: Iterable[InstanceEntry]) -> SeriesTable:
        """Build the columns of one series; every attribute all instances share is in `common`."""
        ordered = sorted(entries, key=lambda entry: entry.place)
        metadata = [entry.metadata for entry in ordered]
        common = shared_attributes(metadata)
        return cls(
            series_instance_uid=series_instance_uid,
            common=common,
            vary=pack_attributes(metadata, common),
            layout=_layout(ordered),
            hdr=tuple(entry.hdr for entry in ordered),
            enc=tuple(entry.frames.enc for entry in ordered),
            pix=tuple(entry.frames.pix for entry in ordered),
        )

    @property
    def root(self) -> Digest:
        """The Merkle root of the series."""
        counts = [len(enc) // DIGEST_BYTES for enc in self.enc]
        return merkle_root(
            [
                leaf("series", canonical_json(self.series_instance_uid)),
                leaf("common", canonical_json(self.common)),
                leaf("vary", canonical_json(self.vary)),
                leaf("layout", canonical_json({**self.layout, "n": counts})),
                subtree("hdrs", leaves("hdr", self.hdr)),
                subtree("encs", leaves("enc", (digest for enc in self.enc for digest in split_digests(enc)))),
            ]
        )

    def entries(self, study_instance_uid: str, study_common: JSONObject) -> Iterator[InstanceEntry]:
        """Yield what the table says of each instance.

        Raises
        ------
        ValueError, TypeError, KeyError
            If its columns do not fit together.
        """
        count, layout = len(self), self.layout
        shared = {**study_common, **self.common}
        columns = [unpack_column(layout.get(name), count) for name in ("version", "tsuid", "len", "pixel")]
        rows = zip(unpack_attributes(self.vary, count), *columns, strict=True)
        for i, (attributes, version, transfer_syntax_uid, lengths, pixel) in enumerate(rows):
            frame_count = len(self.enc[i]) // DIGEST_BYTES
            metadata = dict(sorted({**shared, **attributes}.items()))
            sop_class_uid, sop_instance_uid = layout["ids"][i] if "ids" in layout else _implied_ids(metadata)
            yield InstanceEntry(
                identity=Identity(
                    string_or_fail(sop_class_uid),
                    string_or_fail(sop_instance_uid),
                    self.series_instance_uid,
                    study_instance_uid,
                ),
                version=_natural(version),
                transfer_syntax_uid=string_or_fail(transfer_syntax_uid),
                hdr=self.hdr[i],
                frames=FrameTable(self.enc[i], self.pix[i], _unpack_lengths(lengths, frame_count)),
                metadata=metadata,
                pixel=None if pixel is None else object_or_fail(pixel),
                bulk=tuple(map(_unpack_bulk, layout["bulk"][i])) if "bulk" in layout else (),
                pieces=tuple(map(_integer, layout["pieces"][i])) if "pieces" in layout else _plain_pieces(frame_count),
                notes=tuple(map(string_or_fail, layout["notes"][i])) if "notes" in layout else (),
            )


@dataclass(frozen=True)
class Manifest:
    """A study at one moment. Equal roots mean equal studies."""

    study_instance_uid: str
    common: JSONObject
    series: tuple[SeriesTable, ...]

    @classmethod
    def of(cls, study_instance_uid: str, entries: Iterable[InstanceEntry]) -> Manifest:
        """Build the manifest of a study from its instances, in any order."""
        ordered = sorted(entries, key=lambda entry: entry.place)
        by_series = groupby(ordered, key=lambda entry: entry.place[0])
        return cls.join(study_instance_uid, [SeriesTable.of(uid, rows) for uid, rows in by_series])

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

    @cached_property
    def root(self) -> Digest:
        """The Merkle root of the study."""
        head = [
            leaf("study", canonical_json({"v": VERSION, "study": self.study_instance_uid})),
            leaf("common", canonical_json(self.common)),
        ]
        return merkle_root(head + leaves("root", (table.root for table in self.series)))

    @cached_property
    def entries(self) -> tuple[InstanceEntry, ...]:
        """What it says of each instance, in its order: the inverse of `of`."""
        return tuple(entry for table in self.series for entry in table.entries(self.study_instance_uid, self.common))


def split_digests(joined: bytes) -> Iterator[Digest]:
    """Yield the digests in a column."""
    return (joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES))


def digests_to_text(joined: bytes) -> str:
    """Write digests as base64, as columns hold them."""
    return base64.b64encode(joined).decode("ascii")


def digests_from_text(text: str) -> bytes:
    """Read digests from base64; raises ValueError if it is anything else."""
    joined = base64.b64decode(text, validate=True)
    if len(joined) % DIGEST_BYTES:
        raise ValueError("a digest is cut")
    return joined


# -- the layout columns ------------------------------------------------------------------------


def _layout(ordered: Sequence[InstanceEntry]) -> JSONObject:
    layout: JSONObject = {
        "version": pack_column([entry.version for entry in ordered]),
        "tsuid": pack_column([entry.transfer_syntax_uid for entry in ordered]),
        "len": pack_column([_pack_lengths(entry.frames.lengths) for entry in ordered]),
    }
    if any(entry.pixel is not None for entry in ordered):
        layout["pixel"] = pack_column([entry.pixel for entry in ordered])
    if any(_implied_ids(entry.metadata) != _ids(entry.identity) for entry in ordered):
        layout["ids"] = [_ids(entry.identity) for entry in ordered]
    if any(entry.bulk for entry in ordered):
        layout["bulk"] = [[_pack_bulk(piece) for piece in entry.bulk] for entry in ordered]
    if any(entry.pieces != _plain_pieces(len(entry.frames)) for entry in ordered):
        layout["pieces"] = [list(entry.pieces) for entry in ordered]
    if any(entry.notes for entry in ordered):
        layout["notes"] = [list(entry.notes) for entry in ordered]
    return layout


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
    """Return the one length of all frames, or an array."""
    if not lengths:
        return 0
    return lengths[0] if lengths.count(lengths[0]) == len(lengths) else list(lengths)


def _unpack_lengths(packed: int | list[int], count: int) -> tuple[int, ...]:
    lengths = tuple(packed) if isinstance(packed, list) else (packed,) * count
    if len(lengths) != count:
        raise ValueError("lengths do not fit the frames")
    return tuple(map(_natural, lengths))


def _pack_bulk(piece: BulkPiece) -> list[int | str]:
    return [piece.kind, piece.tag, digests_to_text(piece.digest), piece.length]


def _unpack_bulk(packed: Sequence[int | str]) -> BulkPiece:
    kind, tag, digest, length = packed
    return BulkPiece(_natural(kind), _natural(tag), digests_from_text(string_or_fail(digest)), _natural(length))


def string_or_fail(value: object) -> str:
    """Return `value`, or raise TypeError."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def object_or_fail(value: JSON) -> JSONObject:
    """Return `value`, or raise TypeError."""
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("not an integer")
    return value


def _natural(value: object) -> int:
    number = _integer(value)
    if not 0 <= number <= LARGEST_NUMBER:
        raise ValueError("negative, or more than there can be")
    return number
