"""The JSON form of a manifest (``docs/reference/manifest.md``), read with suspicion.

The *body* is the form without the root and without the columns `hdr` and `pix`: what JSON
patches are written against. A receiver computes `hdr` from the headers it holds or gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TypeAlias

from nearframe.errors import IntegrityError, MalformedRequest
from nearframe.ids import Digest
from nearframe.wire.canonical import JSON, JSONObject
from nearframe.wire.document import decode_document, encode_document
from nearframe.wire.manifest import (
    LAYOUT,
    PER_INSTANCE,
    VERSION,
    Manifest,
    SeriesTable,
    digests_from_text,
    digests_to_text,
    object_or_fail,
    split_digests,
    string_or_fail,
)

MEDIA_TYPE = "application/vnd.nearframe.manifest+json"

#: The `hdr` and `pix` columns of one series.
DigestColumns: TypeAlias = tuple[Sequence[Digest], Sequence[bytes]]


def manifest_body(manifest: Manifest) -> JSONObject:
    """Return the part of the JSON form that patches are written against."""
    return {
        "v": VERSION,
        "study": manifest.study_instance_uid,
        "common": manifest.common,
        "series": [
            {
                "uid": table.series_instance_uid,
                "common": table.common,
                "vary": table.vary,
                **table.layout,
                "enc": [digests_to_text(enc) for enc in table.enc],
            }
            for table in manifest.series
        ],
    }


def enc_columns(body: JSON) -> list[list[bytes]]:
    """Return the `enc` column of each series of a body: per instance the digests of its frames, joined.

    Raises
    ------
    MalformedRequest
        If there are none.
    """
    try:
        return [[digests_from_text(text) for text in member["enc"]] for member in body["series"]]
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedRequest("the frame digests of a manifest cannot be read") from error


def manifest_from_body(body: JSON, columns: Sequence[DigestColumns]) -> Manifest:
    """Build a manifest from its body and the `hdr` and `pix` columns of each of its series.

    Raises
    ------
    MalformedRequest
        If it is not a manifest of this version.
    """
    try:
        if body["v"] != VERSION:
            raise MalformedRequest("the manifest has another version")
        tables = [_read_series(*pair) for pair in zip(body["series"], columns, strict=True)]
        manifest = Manifest(string_or_fail(body["study"]), object_or_fail(body["common"]), tuple(tables))
        _ = manifest.entries  # reads every column: what does not fit together shows here
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise MalformedRequest("the columns of a manifest do not fit together") from error
    return manifest


def manifest_to_json(manifest: Manifest) -> JSONObject:
    """Return the JSON form."""
    body = manifest_body(manifest)
    for member, table in zip(body["series"], manifest.series, strict=True):
        member["hdr"] = digests_to_text(b"".join(table.hdr))
    add_pix(body, manifest)
    return {"root": manifest.root.hex(), **body}


def add_pix(body: JSONObject, manifest: Manifest) -> None:
    """Add the `pix` column to each series where any is known."""
    for member, table in zip(body["series"], manifest.series, strict=True):
        pix = b"".join(table.pix)
        if pix.count(0) != len(pix):
            member["pix"] = digests_to_text(pix)


def manifest_from_json(document: JSON) -> Manifest:
    """Read the JSON form.

    Raises
    ------
    MalformedRequest
        If it is not a manifest of this version.
    IntegrityError
        If what it says does not add up to its root.
    """
    try:
        members = document["series"]
        hdrs = [list(split_digests(digests_from_text(member["hdr"]))) for member in members]
        claimed = bytes.fromhex(document["root"])
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedRequest("the digests of a manifest cannot be read") from error
    manifest = manifest_from_body(document, list(zip(hdrs, pix_columns(document), strict=True)))
    if manifest.root != claimed:
        raise IntegrityError("a manifest does not add up to its root")
    return manifest


def pix_columns(body: JSON) -> list[list[bytes]]:
    """Return the `pix` column of each series: per instance the digests of its frames, zeros where unknown.

    Raises
    ------
    MalformedRequest
        If a column does not fit that of `enc`.
    """
    try:
        return [_pix_column(*pair) for pair in zip(body["series"], enc_columns(body), strict=True)]
    except (TypeError, ValueError) as error:
        raise MalformedRequest("the pixel digests of a manifest cannot be read") from error


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the JSON form as UTF-8, compressed with zstd."""
    return encode_document(manifest_to_json(manifest))


def decode_manifest(data: bytes) -> Manifest:
    """Read what `encode_manifest` wrote; raises as `manifest_from_json` and `decompress` do."""
    return manifest_from_json(decode_document(data))


def _pix_column(member: JSONObject, enc_column: Sequence[bytes]) -> list[bytes]:
    sizes = list(map(len, enc_column))
    if "pix" not in member:
        return [bytes(size) for size in sizes]
    pix = digests_from_text(member["pix"])
    if len(pix) != sum(sizes):
        raise ValueError("pix does not fit enc")
    return [pix[stop - size : stop] for size, stop in zip(sizes, accumulate(sizes), strict=True)]


def _read_series(member: JSONObject, columns: DigestColumns) -> SeriesTable:
    hdr, pix = columns
    enc = tuple(digests_from_text(text) for text in member["enc"])
    layout = {name: member[name] for name in LAYOUT if name in member}
    per_instance = [layout[name] for name in PER_INSTANCE if name in layout]
    if any(len(column) != len(enc) for column in (hdr, pix, *per_instance)):
        raise ValueError("the columns of a series differ in length")
    if any(len(ours) != len(theirs) for ours, theirs in zip(enc, pix, strict=True)):
        raise ValueError("pix does not fit enc")
    return SeriesTable(
        series_instance_uid=string_or_fail(member["uid"]),
        common=object_or_fail(member["common"]),
        vary=object_or_fail(member["vary"]),
        layout=layout,
        hdr=tuple(hdr),
        enc=enc,
        pix=tuple(pix),
    )
